"""What a service counts, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

_REQUEST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCH_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one service, in a registry of their own. No name from outside becomes a label."""

    def __init__(self, about: Mapping[str, str]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

        self._registry = CollectorRegistry()
        self._requests = Counter(
            "edgeclf_requests", "Requests with a response.", ["endpoint", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "edgeclf_request_seconds",
            "From the end of a request's headers to its response.",
            ["endpoint"],
            buckets=_REQUEST_SECONDS,
            registry=self._registry,
        )
        self._images = Histogram(
            "edgeclf_batch_images", "Images in a batch.", buckets=_BATCH_IMAGES, registry=self._registry
        )
        self._engine_seconds = Histogram(
            "edgeclf_engine_seconds",
            "The engine's time for a batch.",
            buckets=_REQUEST_SECONDS,
            registry=self._registry,
        )
        self.waiting = Gauge(
            "edgeclf_waiting_requests", "Requests read, without a response yet.", registry=self._registry
        )
        Info("edgeclf_bundle", "What is served.", registry=self._registry).info(dict(about))

    def count_request(self, endpoint: str, status: int, seconds: float) -> None:
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def count_batch(self, images: int, seconds: float) -> None:
        self._images.observe(images)
        self._engine_seconds.observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """The metrics and their content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST
