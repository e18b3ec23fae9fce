"""Images on their way through `predict`: found in groups, predicted, written as text, JSON or CSV, and counted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain

from edgeclf.console import say
from edgeclf.verbs.shared.image_inputs import Images, collect_images, read_paths, watch_folders
from edgeclf.verbs.shared.predicting.writers import (
    JsonLinePredictions,
    JsonPredictions,
    Predictions,
    TextPredictions,
    Totals,
    csv_predictions,
)
from edgeclf.wording import count
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import DataError, UsageError


class Run:
    """The writers of one run, and what has passed through them."""

    def __init__(self, writers: list[Predictions]) -> None:
        self._writers = writers
        self.totals = Totals()

    def write(self, prediction: Prediction) -> None:
        self.totals.images += 1
        if prediction.error is not None:
            self.totals.errors += 1
            say(f"edgeclf: {prediction.source}: {prediction.error}", style="red")
        for writer in self._writers:
            writer.write(prediction)

    def note(self, group: Images) -> None:
        self.totals.others += group.others
        self.totals.empty_folders += len(group.empty)
        for folder in group.empty:
            say(f"edgeclf: no images found in {folder}", style="red")

    def close(self) -> None:
        for writer in self._writers:
            writer.close(self.totals)


def find_groups(
    named: list[str], *, reads_stdin: bool, null: bool, interval_s: float | None
) -> tuple[int | None, Iterable[Images]]:
    """How many images there will be, if that is known, and the images in groups as they come."""
    if interval_s is not None:
        if reads_stdin or not named or not all(map(os.path.isdir, named)):
            raise UsageError("--watch wants one or more folders, and nothing else; name the folders to watch")
        say(f"watching {', '.join(named)}; Ctrl-C ends it", style="dim")
        return None, watch_folders(named, interval_s=interval_s)
    if not named and not reads_stdin:
        raise UsageError("no images: name files or folders, or give - and paths on standard input")
    first = collect_images(named)
    if not reads_stdin:
        if not first.paths:
            passed_over = f" ({count(first.others, 'other file')} passed over)" if first.others else ""
            raise DataError(f"no images found in {', '.join(first.empty)}{passed_over}")
        return len(first.paths), [first]
    if sys.stdin is None:
        raise UsageError("standard input is closed; name the images instead")
    if sys.stdin.isatty():
        say("reading paths from the terminal, one per line; Ctrl-D ends them", style="dim")
    return None, chain([first], read_paths(sys.stdin.buffer, separator=b"\0" if null else b"\n"))


def predict_groups(
    classifier: Classifier,
    groups: Iterable[Images],
    run: Run,
    *,
    batch_size: int,
    top: int,
    threshold: float | None,
    nearest: int = 0,
    observe: Callable[..., object] | None = None,
) -> Iterator[Prediction]:
    """The predictions of one group after the other; standard output is flushed after each group."""
    for group in groups:
        run.note(group)
        yield from classifier.predict(
            group.paths, batch_size=batch_size, top=top, threshold=threshold, nearest=nearest, observe=observe
        )
        sys.stdout.flush()


def open_writers(
    stack: ExitStack, classifier: Classifier, top: int, watch: bool, as_json: bool, csv: str | None, force: bool
) -> list[Predictions]:
    """The writers that get each prediction: CSV, JSON, JSON line by line, or text."""
    manifest = classifier.bundle.manifest
    top = min(top, len(manifest.labels))
    writers: list[Predictions] = []
    if csv is not None:
        writers.append(stack.enter_context(csv_predictions(csv, top, append=watch, force=force)))
    if as_json and watch:
        writers.append(JsonLinePredictions())
    elif as_json:
        about = {
            "path": str(classifier.bundle.path),
            "digest": classifier.bundle.digest,
            "target": manifest.target,
            "scores": manifest.scores,
            "compute_precision": classifier.session.compute_precision,
            "engine": classifier.session.facts,
        }
        writers.append(JsonPredictions({"bundle": about}))
    elif csv != "-":
        writers.append(TextPredictions(classifier.labels, manifest.scores, top))
    return writers
