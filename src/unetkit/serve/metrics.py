"""Metrics of a service in the text format of Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from unetkit._shared.memory_budget import resident_bytes
from unetkit._version import __version__
from unetkit.serve.limits import HeldBytes
from unetkit.serve.process import REASONS
from unetkit.serve.segmenter import Segmenter

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)  # seconds


class Metrics:
    """Counts and times of requests, and the state of the service when it is asked.

    Args:
        segmenter: What answers requests.
        held: Bytes of bodies and answers in memory.
    """

    def __init__(self, segmenter: Segmenter, held: HeldBytes) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "unetkit_requests",
            "Answers by route and status code",
            ("route", "status"),
            registry=self._registry,
        )
        self.answer_seconds = Histogram(
            "unetkit_answer_seconds",
            "Time from the complete body to the answer of a prediction",
            ("output",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_State(segmenter, held))

    def count(self, route: str | None, status: int) -> None:
        """Counts an answer; `route` is None where no route fits the request."""
        self._requests.labels(route or "none", str(status)).inc()

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, segmenter: Segmenter, held: HeldBytes) -> None:
        self._segmenter, self._held = segmenter, held

    def collect(self) -> Iterator[Metric]:
        segmenter = self._segmenter
        waiting = segmenter.waiting
        for name, words, value in (
            ("unetkit_requests_waiting", "Requests that wait for a free process", waiting),
            (
                "unetkit_requests_running",
                "Requests that are being answered",
                segmenter.pending - waiting,
            ),
            (
                "unetkit_held_bytes",
                "Bytes of bodies and answers in memory",
                self._held.total,
            ),
        ):
            yield GaugeMetricFamily(name, words, value)
        memory = GaugeMetricFamily(
            "unetkit_resident_bytes", "Memory of each process", labels=("process",)
        )
        memory.add_metric(("server",), resident_bytes())
        for number, resident in enumerate(segmenter.resident_bytes):
            memory.add_metric((f"predict-{number}",), resident)
        yield memory
        ended = CounterMetricFamily(
            "unetkit_processes_replaced",
            "Processes that ended while they predicted, and why",
            labels=("reason",),
        )
        for reason in REASONS:
            ended.add_metric((reason,), segmenter.ended[reason])
        yield ended
        model = InfoMetricFamily("unetkit", "Version, and SHA-256 of the model file")
        model.add_metric((), {"version": __version__, "model": segmenter.predictor.digest})
        yield model
