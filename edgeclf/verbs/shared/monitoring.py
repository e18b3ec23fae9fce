"""What `predict` and `serve` keep of what a device sees: images collected, predictions counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from edgeclf.console import say, suggest
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.bundle.decision import Prediction
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits
    from edgeclf_runtime.monitoring.collector import Collector
    from edgeclf_runtime.monitoring.counter import PredictionCounter, SummaryFile


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What shall be kept: the options of monitoring_options.py. `goes_on`: an existing summary grows."""

    collect: Path | None = None
    images: int = 1000
    megabytes: float = 500.0
    other: str | None = None
    summary: Path | None = None
    goes_on: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if self.other is not None and self.collect is None:
            raise UsageError("--collect-with is for --collect DIR; name the folder")

    def check_outside(self, watched: Iterable[str]) -> None:
        """Raises UsageError where collected images would land in a watched folder, to be predicted again."""
        if self.collect is None:
            return
        for folder in watched:
            if self.collect.resolve().is_relative_to(Path(folder).resolve()):
                raise UsageError(
                    f"--collect {self.collect} lies in {folder}, which is watched: what it keeps would be predicted "
                    "again; choose a folder elsewhere"
                )


class Monitor:
    """Takes what a run predicts."""

    def __init__(self, collector: Collector | None, summary: SummaryFile | None, place: Path | None) -> None:
        self._collector, self._summary, self._place = collector, summary, place

    @property
    def observe(self) -> Any:
        """What counts the pixels and the prediction of each image; None: nothing is counted."""
        return None if self._summary is None else self._summary.count

    def offer(self, prediction: Prediction, source: Any) -> None:
        """The image of a prediction: its path, its bytes or its (H, W, 3) RGB pixels."""
        if self._collector is not None:
            self._collector.offer(prediction, source)

    def close(self, bundle: Bundle) -> None:
        """Writes the summary, and says what was kept."""
        if self._collector is not None and self._place is not None:
            say_collected(self._collector, self._place)
        if self._summary is not None and self._summary.write():
            say(f"wrote {self._summary.path}", style="dim")
            suggest(f"edgeclf drift {quote(str(bundle.path))} {quote(str(self._summary.path))}")


@contextmanager
def monitored(
    classifier: Classifier,
    wanted: Monitoring,
    options: SessionOptions,
    limits: Limits,
    threshold: float | None,
) -> Iterator[Monitor]:
    """A monitor that is closed when the block ends, however it does. Raises as what it opens."""
    with ExitStack() as stack:
        counter = None
        if wanted.summary is not None:
            counter = _counter(classifier.bundle, wanted.summary, wanted, threshold)
        collector = open_collector(stack, classifier, wanted, options, limits, threshold)
        monitor = Monitor(collector, None if counter is None else _file(counter, wanted.summary), wanted.collect)
        try:
            yield monitor
        finally:
            monitor.close(classifier.bundle)


def open_collector(
    stack: ExitStack,
    classifier: Classifier,
    wanted: Monitoring,
    options: SessionOptions,
    limits: Limits,
    threshold: float | None,
) -> Collector | None:
    """The collector that was asked for, and the second bundle until the stack ends; None: none was."""
    if wanted.collect is None:
        return None
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.classifier import Classifier as Opened
    from edgeclf_runtime.monitoring.collector import CollectLimits, Collector

    predict_other = None
    if wanted.other is not None:
        second = Bundle.open(wanted.other)
        if set(second.manifest.labels) != set(classifier.labels):
            raise DataError(f"--collect-with: {second.path} has other classes than {classifier.bundle.path}")
        if second.manifest.multi_label != classifier.bundle.manifest.multi_label:
            raise DataError(
                f"--collect-with: one of {second.path} and {classifier.bundle.path} predicts several labels an image, "
                "the other one label"
            )
        other = stack.enter_context(Opened.open(second, options, limits=limits))

        def predict_other(source: Any) -> Prediction:
            return next(iter(other.predict(source, top=2)))

    return Collector(
        wanted.collect,
        classifier.bundle,
        limits=CollectLimits(wanted.images, wanted.megabytes),
        image_limits=limits,
        threshold=threshold,
        other=predict_other,
        report=lambda sentence: say(f"edgeclf: {sentence}", style="yellow"),
    )


def say_collected(collector: Collector, folder: Path) -> None:
    """How many images were kept, and what to do with them."""
    alike = f"; {collector.alike:,} looked like one of them and were not" if collector.alike else ""
    say(f"collected {count(collector.kept, 'image')} in {folder}{alike}", style="dim")
    if collector.kept:
        suggest(f"edgeclf data add {quote(str(folder))} --sheet")


def _counter(bundle: Bundle, path: Path, wanted: Monitoring, threshold: float | None) -> PredictionCounter:
    from edgeclf_runtime.monitoring.counter import PredictionCounter
    from edgeclf_runtime.monitoring.summary import read_summary

    so_far = None
    if path.exists() and not wanted.force:
        if not wanted.goes_on:
            raise UsageError(f"{path} exists; give --force to replace it, or another --summary file")
        so_far = read_summary(path)
    try:
        return PredictionCounter(bundle, threshold, so_far)
    except DataError as error:
        if so_far is None:
            raise
        raise UsageError(f"{path} can't go on: {error}; name another --summary file, or give --force") from error


def _file(counter: PredictionCounter, path: Path | None) -> SummaryFile:
    from edgeclf_runtime.monitoring.counter import SummaryFile

    if path is None:
        raise ValueError("a counter without a file")
    return SummaryFile(counter, path, lambda sentence: say(f"edgeclf: {sentence}", style="yellow"))
