"""What a service counts, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from edgeclf_runtime.monitoring.summary import Summary

if TYPE_CHECKING:
    from prometheus_client.registry import Collector
else:
    Collector = object  # a protocol in all but name: loading it would load prometheus_client

_REQUEST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_UNITS = {"confidence": "", "energy": "_nats"}  # of all others: levels of 0..255
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

    def count_predictions(self, summary: Callable[[], Summary | None]) -> None:
        """From now on the predictions that `summary` counts are among the metrics."""
        self._registry.register(_PredictionMetrics(summary))

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


class _PredictionMetrics(Collector):
    """A summary in the families of Prometheus, drawn up each time they are asked for."""

    def __init__(self, summary: Callable[[], Summary | None]) -> None:
        self._summary = summary

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        summary = self._summary()
        if summary is None:
            return
        answers = CounterMetricFamily("edgeclf_answers", "Images by their most probable class.", labels=["label"])
        for label, images in summary.answers.items():
            answers.add_metric([label], images)
        yield answers
        if summary.labels is not None:
            labels = CounterMetricFamily("edgeclf_labels", "Images by each label that is predicted.", labels=["label"])
            for label, images in summary.labels.items():
                labels.add_metric([label], images)
            yield labels
            without = summary.without_label
            yield CounterMetricFamily("edgeclf_without_label", "Images for which none is predicted.", value=without)
        yield CounterMetricFamily("edgeclf_unknown", 'Predictions that are "unknown".', value=summary.unknown)
        for name, histogram in summary.histograms.items():
            unit = _UNITS.get(name, "_levels")
            bounds = [*map(str, histogram.edges), "+Inf"]
            buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
            yield HistogramMetricFamily(
                f"edgeclf_{name}{unit}", f"Images by their {name}.", buckets=buckets, sum_value=histogram.total
            )
