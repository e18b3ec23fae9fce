"""The work of `edgeclf predict`, from what was asked to its exit code; nothing here needs Typer."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeclf.console import Bars
from edgeclf.verbs.shared.monitoring import Monitor, Monitoring, monitored
from edgeclf.verbs.shared.opening import (
    check_threshold,
    for_many,
    open_bundle,
    require_no_failed_proof,
    say_remarks,
    session_options,
)
from edgeclf.verbs.shared.passed_over import say_passed_over
from edgeclf.verbs.shared.predicting.results import (
    batch_size_here,
    close_run,
    next_step_of,
    open_and_predict_stream,
    parse_batch_size,
)
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.image_inputs import Images
    from edgeclf.verbs.shared.predicting.images import Run
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A command line of `predict`: its arguments and options, each named as the verb names it, and their defaults."""

    bundle: str
    images: list[str] | None = None
    top: int = 5
    threshold: float | None = None
    nearest: int = 0
    batch_size: str | None = None
    device: str = "own"
    threads: int | None = None
    streams: int | None = None
    pixels: Literal["exact", "fast"] = "exact"
    cache: Path | None = None
    compute_precision: str | None = None
    rebuild_if_stale: bool = False
    allow_failed_proof: bool = False
    stdin: bool = False
    null: bool = False
    watch: bool = False
    interval: float = 0.5
    source: str | None = None
    frames: str | None = None
    every: int = 1
    timeout: float = 10.0
    max_megapixels: float = 64
    max_megabytes: float = 64
    summary: Path | None = None
    collect: Path | None = None
    collect_images: int = 1000
    collect_megabytes: float = 500
    collect_with: str | None = None
    csv: str | None = None
    as_json: bool = False
    verbose: bool = False
    force: bool = False

    @property
    def named(self) -> list[str]:
        """The files and folders among `images`."""
        return [place for place in self.images or [] if place != "-"]

    @property
    def reads_stdin(self) -> bool:
        return self.stdin or self.null or "-" in (self.images or [])

    def monitoring(self) -> Monitoring:
        """What shall be kept. Raises UsageError."""
        lasting = self.watch or self.source is not None
        kept = (self.collect, self.collect_images, self.collect_megabytes, self.collect_with, self.summary)
        return Monitoring(*kept, lasting, self.force)

    def check(self) -> None:
        """Raises UsageError for options that don't go together."""
        if self.as_json and self.csv == "-":
            raise UsageError("--json and --csv - both write to standard output; give --csv a file")
        if self.nearest and (self.source is not None or self.csv is not None):
            raise UsageError("--nearest is shown as text and in --json; leave out --source and --csv")
        if self.nearest and self.top == 1 and not self.as_json:
            raise UsageError("--nearest needs more than the one line an image of --top 1; leave it out, or give --json")
        if self.source is not None and (self.named or self.reads_stdin or self.watch):
            raise UsageError("--source takes one stream and nothing else; leave out images, --stdin and --watch")


def run_predict(asked: PredictRequest) -> int:
    """Predicts what was asked, writes the predictions, and returns the exit code. Raises EdgeclfError."""
    from PIL import Image

    from edgeclf_runtime.images.limits import Limits

    Image.MAX_IMAGE_PIXELS = None  # our own limits are stricter, and options
    options = session_options(
        asked.device, asked.threads, asked.compute_precision, streams=asked.streams, cache=asked.cache
    )
    parse_batch_size(asked.batch_size)
    kept = asked.monitoring()
    if asked.watch:
        kept.check_outside(asked.named)
    asked.check()
    limits = Limits(asked.max_megapixels, asked.max_megabytes)
    if asked.source is None:
        return _predict_images(asked, options, limits, kept)
    _predict_stream(asked, asked.source, options, limits, kept)
    return 0


def _predict_stream(
    asked: PredictRequest, source: str, options: SessionOptions, limits: Limits, kept: Monitoring
) -> None:
    open_and_predict_stream(
        asked.bundle,
        source,
        asked.frames,
        options,
        limits,
        mode=asked.pixels,
        rebuild_if_stale=asked.rebuild_if_stale,
        unproven=asked.allow_failed_proof,
        kept=kept,
        every=asked.every,
        timeout_s=asked.timeout,
        at_a_time=parse_batch_size(asked.batch_size),
        top=asked.top,
        threshold=asked.threshold,
        as_json=asked.as_json,
        csv=asked.csv,
    )


def _predict_images(asked: PredictRequest, options: SessionOptions, limits: Limits, kept: Monitoring) -> int:
    from edgeclf.verbs.shared.predicting.images import Run, find_groups, open_writers
    from edgeclf_runtime.classifier import Classifier

    pause_s = asked.interval if asked.watch else None
    total, groups = find_groups(asked.named, reads_stdin=asked.reads_stdin, null=asked.null, interval_s=pause_s)
    if not asked.watch:
        options = for_many(options, total)
    opened = open_bundle(asked.bundle, options, rebuild_if_stale=asked.rebuild_if_stale)
    with Classifier.open(opened, options, limits=limits, mode=asked.pixels) as classifier, ExitStack() as stack:
        check_threshold(asked.threshold, classifier.bundle.manifest.scores)
        proof = require_no_failed_proof(classifier, unproven=asked.allow_failed_proof)
        say_remarks(classifier.session.facts)
        monitor = stack.enter_context(monitored(classifier, kept, options, limits, asked.threshold))
        how = (asked.top, asked.watch, asked.as_json, asked.csv, asked.force)
        run = Run(open_writers(stack, classifier, *how))
        try:
            _predict_all(asked, classifier, groups, total, run, monitor)
        finally:
            run.close()
        next_step = next_step_of(classifier, proof)
    say_passed_over(asked.images or (), run.totals.others, verbose=asked.verbose)
    return close_run(run.totals, asked.csv, next_step=next_step, forgiving=asked.watch)


def _predict_all(
    asked: PredictRequest,
    classifier: Classifier,
    groups: Iterable[Images],
    total: int | None,
    run: Run,
    monitor: Monitor,
) -> None:
    from edgeclf.verbs.shared.predicting.images import predict_groups

    try:
        predictions = predict_groups(
            classifier,
            groups,
            run,
            batch_size=batch_size_here(classifier, parse_batch_size(asked.batch_size), total),
            top=asked.top,
            threshold=asked.threshold,
            nearest=asked.nearest,
            observe=monitor.observe,
        )
        bars = not (asked.watch or total == 1 or sys.stdout.isatty())  # predictions that scroll by are progress enough
        for prediction in Bars().track(predictions, total, "predict") if bars else predictions:
            run.write(prediction)
            monitor.offer(prediction, prediction.source)
    except KeyboardInterrupt:
        if not asked.watch:
            raise
    run.totals.finished = True
