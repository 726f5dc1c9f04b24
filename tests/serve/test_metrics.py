"""Metrics are in the text format of Prometheus, and count what was answered."""

from prometheus_client.parser import text_string_to_metric_families

from tests.serving import photo_bytes


def samples(service):
    response = service.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_answers_are_counted_by_route_and_status(service, built_in):
    service.post(photo_bytes())
    service.post(b"no image")
    service.get("/none")
    service.get("/health", Host="other")
    found = samples(service)
    predict = "/v1/predict"
    assert found["unetkit_requests_total", (("route", predict), ("status", "200"))] == 1
    assert found["unetkit_requests_total", (("route", predict), ("status", "422"))] == 1
    assert found["unetkit_requests_total", (("route", "none"), ("status", "404"))] == 1
    assert found["unetkit_requests_total", (("route", "none"), ("status", "421"))] == 1
    assert found["unetkit_answer_seconds_count", (("output", "mask"),)] == 1
    assert found["unetkit_requests_waiting", ()] == 0
    assert found["unetkit_requests_running", ()] == 0
    assert found["unetkit_held_bytes", ()] == 0
    for process in ("server", "predict-0"):
        assert found["unetkit_resident_bytes", (("process", process),)] > 10_000_000
    for reason in ("crash", "timeout"):
        assert found["unetkit_processes_replaced_total", (("reason", reason),)] == 0
    assert any(
        name == "unetkit_info" and ("model", built_in.digest) in labels for name, labels in found
    )
