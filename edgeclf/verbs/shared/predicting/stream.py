"""`edgeclf predict --source`: the frames of a video, camera or URL, predicted as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from edgeclf.console import Bars, say
from edgeclf.verbs.shared.monitoring import Monitor
from edgeclf.verbs.shared.predicting.writers import Predictions, TextPredictions, Totals, csv_predictions
from edgeclf.video.feed import Feed
from edgeclf.video.predict import Pace, PredictedFrame, StreamTotals, predict_frames, print_frame, print_totals
from edgeclf.video.sources import StreamSource
from edgeclf.video.video import Frame, Shot, Video
from edgeclf.wording import count
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import DataError, EdgeclfError

_SHOWN_EVERY_S = 0.5
_REPORTED_EVERY_S = 5.0  # where predictions scroll by on the same terminal


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How frames are taken and predicted: see `edgeclf predict --help`."""

    newest: bool
    every: int
    timeout_s: float
    batch_size: int
    top: int
    threshold: float | None
    as_json: bool
    csv: str | None


def predict_stream(classifier: Classifier, source: StreamSource, options: StreamOptions, monitor: Monitor) -> None:
    """Predicts a stream to its end and reports the pace. Raises DataError where it breaks off."""
    with ExitStack() as stack:
        video = Video(source, every=options.every, timeout_s=options.timeout_s, plays=options.newest)
        writers = _writers(stack, classifier, options)
        feed: Feed[Shot, Frame] = Feed(video.shots(), video.frame, newest=options.newest)
        pace, fault = Pace(), None
        frames = predict_frames(
            classifier,
            feed,
            source.shown,
            ahead=not (source.live or options.newest),
            batch_size=options.batch_size,
            top=options.top,
            threshold=options.threshold,
            observe=monitor.observe,
        )
        try:
            for predicted in _shown(frames, pace, feed, video):
                _write(predicted, writers, options)
                monitor.offer(predicted.prediction, predicted.pixels)
        except KeyboardInterrupt:
            if not source.live:
                raise
        except EdgeclfError as error:
            fault = str(error)
            raise
        finally:
            if feed.stop():
                video.close()
            totals = pace.totals(dropped=feed.dropped, damaged=video.damaged, fault=fault)
            _close(totals, writers, options)
    if not source.live and totals.errors + totals.damaged:
        raise DataError(f"{count(totals.errors + totals.damaged, 'frame')} of {source.shown} could not be read")


def _writers(stack: ExitStack, classifier: Classifier, options: StreamOptions) -> list[Predictions]:
    """The table and the bars; JSON lines hold more than a prediction, and have a way of their own."""
    manifest = classifier.bundle.manifest
    top = min(options.top, len(manifest.labels))
    writers: list[Predictions] = []
    if options.csv is not None:
        writers.append(stack.enter_context(csv_predictions(options.csv, top, append=options.csv != "-", force=False)))
    if not options.as_json and options.csv != "-":
        writers.append(TextPredictions(classifier.labels, manifest.scores, top))
    return writers


def _write(predicted: PredictedFrame, writers: list[Predictions], options: StreamOptions) -> None:
    prediction = predicted.prediction
    if prediction.error is not None:
        say(f"edgeclf: {prediction.source}: {prediction.error}", style="red")
    for writer in writers:
        writer.write(prediction)
    if options.as_json:
        print_frame(predicted)


def _shown(
    frames: Iterator[PredictedFrame], pace: Pace, feed: Feed[Shot, Frame], video: Video
) -> Iterator[PredictedFrame]:
    """`frames`, counted, with their pace on the terminal while they pass."""
    scrolls = sys.stdout.isatty()
    with Bars(disable=scrolls) as progress:
        due = time.monotonic() + _SHOWN_EVERY_S
        for predicted in frames:
            pace.note(predicted)
            yield predicted
            now = time.monotonic()
            if now < due:
                continue
            sentence = str(pace.totals(dropped=feed.dropped, damaged=video.damaged))
            if scrolls:
                say(sentence, style="dim")
            else:
                progress.step(sentence)
            due = now + (_REPORTED_EVERY_S if scrolls else _SHOWN_EVERY_S)


def _close(totals: StreamTotals, writers: list[Predictions], options: StreamOptions) -> None:
    for writer in writers:
        writer.close(Totals(totals.answered, totals.errors, finished=totals.fault is None))
    if options.as_json:
        print_totals(totals)
    say(str(totals), style="dim")
    if options.csv not in (None, "-"):
        say(f"wrote {options.csv}", style="dim")
