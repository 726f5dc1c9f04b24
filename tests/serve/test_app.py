"""The HTTP interface through a real socket: its routes, its errors, and its description."""

import json

import pytest

from tests.serving import (
    photo_bytes,
    read_all,
    read_response,
    sentence_of,
    serving,
)
from unetkit.serve.answers import MEDIA_TYPES
from unetkit.serve.limits import Limits


class TestPredict:
    @pytest.mark.parametrize("output", ["mask", "overlay", "cutout", "probabilities"])
    def test_an_answer_has_its_media_type_and_length(self, service, output):
        response = service.post(photo_bytes(), f"/v1/predict?output={output}")
        assert response.status_code == 200
        assert response.headers["content-type"] == MEDIA_TYPES[output]
        assert int(response.headers["content-length"]) == len(response.content)
        name = response.headers["content-disposition"].removeprefix('inline; filename="')
        end = {"overlay": "_overlay.png", "cutout": "_cutout.png"}
        end["probabilities"] = "_probabilities.npz"
        assert name == f'image{end.get(output, ".png")}"'

    def test_accept_chooses_the_answer(self, service):
        both = [service.post(photo_bytes(), Accept=MEDIA_TYPES["probabilities"])]
        both.append(service.post(photo_bytes(), "/v1/predict?output=probabilities"))
        assert both[0].content == both[1].content

    @pytest.mark.parametrize(
        ("path", "headers", "status", "words"),
        [
            ("?output=none", {}, 422, "output is 'none'; accepted"),
            ("?output=objects", {}, 422, "accepted with this model are mask, overlay"),
            ("", {"Accept": "video/mp4"}, 406, "media types of this model's answers"),
            ("", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "the body is a form"),
            ("", {"Content-Encoding": "gzip"}, 415, "bodies that are not packed"),
        ],
    )
    def test_what_is_not_offered_is_refused(self, service, path, headers, status, words):
        response = service.post(photo_bytes(), f"/v1/predict{path}", **headers)
        assert response.status_code == status
        assert words in sentence_of(response)

    def test_the_content_type_of_curl_is_accepted(self, service):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert service.post(photo_bytes(), **headers).status_code == 200

    def test_an_empty_body_is_refused(self, service):
        response = service.post(b"")
        assert response.status_code == 422
        assert "the body is empty" in sentence_of(response)

    def test_a_body_without_a_length_is_accepted(self, service):
        content = photo_bytes()
        with service.client() as client:
            response = client.post("/v1/predict", content=iter([content[:100], content[100:]]))
        assert response.content == service.post(content).content


class TestLimits:
    @pytest.fixture(scope="class")
    @classmethod
    def narrow(cls, built_in):
        limits = Limits(body_bytes=20_000, pixels=10_000, seconds=20, held_bytes=40_000)
        with serving(built_in, limits) as running:
            yield running

    def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(self, narrow):
        with narrow.connect() as connection:
            connection.sendall(narrow.head(20_001))
            status, headers, body = read_response(connection)
        assert status == 413
        assert headers["unetkit-model"]
        assert "accepted are up to 0.0190735 MiB" in json.loads(body)["error"]

    @pytest.mark.parametrize("length", ["-1", "1e3", "9" * 5000])
    def test_a_length_that_is_no_number_in_bounds_is_refused(self, narrow, length):
        with narrow.connect() as connection:
            connection.sendall(narrow.head(0).replace(b"Length: 0", f"Length: {length}".encode()))
            assert read_response(connection)[0] in (400, 413)

    def test_a_body_that_grows_too_large_is_refused(self, narrow):
        with narrow.client() as client:
            response = client.post("/v1/predict", content=iter([bytes(15_000), bytes(15_000)]))
        assert response.status_code == 413
        assert "the body is too large" in sentence_of(response)

    def test_an_image_of_too_many_pixels_is_refused(self, narrow):
        response = narrow.post(photo_bytes("JPEG", (101, 100)))
        assert response.status_code == 422
        assert "101 x 100 pixels; accepted are up to 10,000 pixels" in sentence_of(response)

    def test_bodies_beyond_the_memory_are_refused(self, narrow):
        connections = [narrow.connect() for _ in range(3)]
        for connection in connections[:2]:
            connection.sendall(narrow.head(20_000) + bytes(19_999))
        wait_for(lambda: held_bytes(narrow) == 39_998)
        connections[2].sendall(narrow.head(20_000) + bytes(19_999))
        status, headers, body = read_response(connections[2])
        assert status == 503
        assert headers["retry-after"] == "1"
        assert "limit of this server" in json.loads(body)["error"]
        for connection in connections:
            connection.close()
        wait_for(lambda: held_bytes(narrow) == 0)
        assert narrow.post(photo_bytes()).status_code == 200

    def test_an_answer_beyond_the_memory_is_refused(self, narrow):
        response = narrow.post(photo_bytes("PNG", (70, 70)), "/v1/predict?output=probabilities")
        assert response.status_code == 503
        assert "bodies and answers in memory" in sentence_of(response)

    def test_a_body_that_does_not_arrive_is_refused(self, built_in):
        with serving(built_in, Limits(seconds=0.2)) as running, running.connect() as connection:
            connection.sendall(running.head(1000) + b"part")
            status, _, body = read_response(connection)
        assert status == 408
        assert "did not arrive within 0.2 seconds" in json.loads(body)["error"]


def held_bytes(service):
    lines = service.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("unetkit_held_bytes"))


def wait_for(condition):
    import time

    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class TestClients:
    def test_one_that_goes_away_within_its_body_leaves_nothing(self, service):
        with service.connect() as connection:
            connection.sendall(service.head(1000) + b"part")
        wait_for(lambda: held_bytes(service) == 0)
        assert service.post(photo_bytes()).status_code == 200

    def test_one_that_goes_away_before_its_answer_leaves_nothing(self, service):
        content = photo_bytes()
        for _ in range(5):
            with service.connect() as connection:
                connection.sendall(service.head(len(content)) + content)
        wait_for(lambda: service.segmenter.pending == 0 and held_bytes(service) == 0)
        assert service.post(content).status_code == 200

    def test_a_body_that_is_longer_than_its_length_is_cut_there(self, service):
        content = photo_bytes()
        with service.connect() as connection:
            connection.sendall(service.head(len(content)) + content + b"more\r\n\r\n")
            assert read_response(connection)[0] == 200
            read_all(connection)
        assert service.post(content).status_code == 200

    def test_many_at_once_are_all_answered(self, service, monkeypatch):
        monkeypatch.setattr(service.segmenter, "limits", Limits(waiting=8))
        content = photo_bytes()
        connections = [service.connect() for _ in range(200)]
        for connection in connections:
            connection.sendall(service.head(len(content)) + content)
        found = [read_response(connection) for connection in connections]
        for connection in connections:
            connection.close()
        statuses = [status for status, _, _ in found]
        assert set(statuses) == {200, 429}
        assert len({body for status, _, body in found if status == 200}) == 1
        for status, headers, body in found:
            if status == 429:
                assert int(headers["retry-after"]) >= 1
                assert "requests wait already" in json.loads(body)["error"]
        assert service.post(content).status_code == 200


class TestOtherRoutes:
    def test_the_model_is_described(self, service, built_in):
        found = service.get("/v1/model").json()
        assert found["model"] == built_in.digest
        assert [record["name"] for record in found["classes"]] == list(built_in.spec.classes.names)
        assert found["outputs"]["mask"] == "image/png"
        assert found["limits"]["pixels"] == Limits.pixels
        assert found["formats"] == ["JPEG", "PNG", "WEBP", "TIFF"]
        assert str(built_in.path.parent) not in json.dumps(found)

    def test_it_is_healthy_and_ready(self, service):
        assert service.get("/health").json() == {"status": "ok"}
        assert service.get("/ready").json() == {"status": "ready"}

    def test_it_is_not_ready_while_its_queue_is_full(self, service, monkeypatch):
        monkeypatch.setattr(service.segmenter, "_pending", 10_000)
        response = service.get("/ready")
        assert response.status_code == 429
        assert "requests wait already" in sentence_of(response)

    def test_what_does_not_exist_is_said(self, service):
        assert "nothing at this path" in sentence_of(service.get("/v2"))
        response = service.get("/v1/predict")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        assert "method is not accepted" in sentence_of(response)

    @pytest.mark.parametrize("path", ["/", "/health", "/ready", "/v1/model", "/openapi.json"])
    def test_head_gets_the_headers_of_get_without_a_body(self, service, path):
        with service.client() as client:
            asked, got = client.head(path), client.get(path)
        assert asked.status_code == got.status_code == 200
        assert asked.content == b""
        assert dict(asked.headers) == dict(got.headers) | {"date": asked.headers["date"]}

    @pytest.mark.parametrize(
        ("path", "allowed"), [("/health", "GET, HEAD"), ("/v1/predict", "POST")]
    )
    def test_options_names_the_methods_of_a_path(self, service, path, allowed):
        with service.client() as client:
            response, refused = client.options(path), client.put(path)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["allow"] == refused.headers["allow"] == allowed
        assert refused.status_code == 405

    @pytest.mark.parametrize("path", ["/health/", "/v1/predict/", "/HEALTH"])
    def test_a_path_has_one_spelling_and_others_are_not_redirected(self, service, path):
        assert service.get(path).status_code == 404

    def test_no_page_loads_scripts_from_elsewhere(self, service):
        assert service.get("/docs").status_code == service.get("/redoc").status_code == 404

    def test_a_fault_is_an_answer_without_a_traceback(self, service, monkeypatch):
        monkeypatch.setattr(service.segmenter, "_work", lambda *_: 1 / 0)
        response = service.post(photo_bytes())
        assert response.status_code == 500
        assert sentence_of(response) == "the server failed; its log says why"
        assert response.headers["unetkit-model"]


class TestDescription:
    def test_it_names_the_answers_and_the_errors_of_a_prediction(self, service):
        described = service.get("/openapi.json").json()
        predict = described["paths"]["/v1/predict"]["post"]
        assert predict["parameters"][0]["schema"]["enum"] == list(service.segmenter.outputs)
        assert "image/jpeg" in predict["requestBody"]["content"]
        assert set(predict["responses"]["200"]["content"]) == {
            MEDIA_TYPES[name] for name in service.segmenter.outputs
        }
        assert {"413", "422", "429", "503"} <= set(predict["responses"])

    def test_behind_a_proxy_it_names_the_path(self, built_in):
        with serving(built_in, root_path="/segment", token="t" * 20) as running:
            bearer = {"Authorization": f"Bearer {'t' * 20}"}
            described = running.get("/openapi.json", **bearer).json()
            assert running.post(photo_bytes(), **bearer).status_code == 200
            assert running.get("/health").status_code == 200
        assert described["servers"] == [{"url": "/segment"}]
