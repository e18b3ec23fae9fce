"""`edgeclf predict`: a bundle's predictions for images, as bars, JSON or CSV."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from edgeclf.console import Bars
from edgeclf.verbs.shared.monitoring import (
    Collect,
    CollectImages,
    CollectMegabytes,
    CollectWith,
    Monitoring,
    SummaryPath,
    monitored,
)
from edgeclf.verbs.shared.opening import (
    check_threshold,
    for_many,
    open_bundle,
    require_no_failed_proof,
    say_remarks,
    session_options,
)
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AllowFailedProof,
    AsJson,
    BundlePath,
    Cache,
    ComputePrecision,
    Device,
    Force,
    MaxMegabytes,
    MaxMegapixels,
    PixelsMode,
    RebuildIfStale,
    Streams,
    Threads,
)
from edgeclf.verbs.shared.passed_over import Verbose, say_passed_over
from edgeclf.verbs.shared.predict_results import (
    batch_size_here,
    close_run,
    next_step_of,
    open_and_predict_stream,
    parse_batch_size,
)
from edgeclf.verbs.shared.stream_options import Every, Frames, Source, StreamTimeout
from edgeclf_runtime.errors import UsageError


def predict(
    bundle: BundlePath,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGES", help="Image files and folders; - reads paths from standard input."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Number of best classes to list.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help='Probability below which the prediction is "unknown"; with several labels an image, from which on '
            "each is predicted.",
            show_default="as the bundle says",
        ),
    ] = None,
    nearest: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Number of training images to list that look most like each image; the bundle has to keep them "
            "(export --features --nearest-images).",
        ),
    ] = 0,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            "-b",
            metavar="N|auto",
            help="Images per inference call; auto: the fastest of several sizes, measured first.",
            show_default="auto, and 1 for few images, pipes and streams",
        ),
    ] = None,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    streams: Streams = None,
    pixels: PixelsMode = "exact",
    cache: Cache = None,
    compute_precision: ComputePrecision = None,
    rebuild_if_stale: RebuildIfStale = False,
    allow_failed_proof: AllowFailedProof = False,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read paths from standard input, one per line; same as -.")
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="NUL-separated paths on standard input, as find -print0 writes them.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Keep watching the folders: predict what is there, then each new or replaced image once it is "
            "complete. Ctrl-C or SIGTERM ends the watch with exit code 0.",
        ),
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="Time between two scans of --watch.")
    ] = 0.5,
    source: Source = None,
    frames: Frames = None,
    every: Every = 1,
    timeout: StreamTimeout = 10.0,
    max_megapixels: MaxMegapixels = 64,
    max_megabytes: MaxMegabytes = 64,
    summary: SummaryPath = None,
    collect: Collect = None,
    collect_images: CollectImages = 1000,
    collect_megabytes: CollectMegabytes = 500,
    collect_with: CollectWith = None,
    csv: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="CSV file for the predictions; - prints them instead. With --watch and --source, rows are appended. "
            "Ctrl-C leaves the rows so far in FILE.interrupted.csv.",
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    force: Force = False,
) -> None:
    """Classify images.

    An unreadable image gets one line on standard error, the others their predictions; the exit code is then 3. Exit
    code 1: the latest verification of this bundle on this machine failed, and nothing was predicted;
    --allow-failed-proof overrides that.

    \b
    Examples:
      edgeclf predict bundles/cats-onnx cat.jpg
      edgeclf predict bundles/cats-onnx photos/ --csv predictions.csv
      find . -name '*.jpg' -print0 | edgeclf predict bundles/cats-onnx - -0 --top 1
      edgeclf predict bundles/cats-onnx inbox/ --watch --json
      edgeclf predict bundles/cats-onnx inbox/ --watch --summary week.json --collect to-label/
      edgeclf predict bundles/cats-onnx --source /dev/video0 --top 1
    """
    from PIL import Image

    from edgeclf.verbs.shared.predict_images import Run, find_groups, open_writers, predict_groups
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits

    Image.MAX_IMAGE_PIXELS = None  # our own limits are stricter, and options
    options = session_options(device, threads, compute_precision, streams=streams, cache=cache)
    mode, lasting = pixels, watch or source is not None
    at_a_time = parse_batch_size(batch_size)
    kept = Monitoring(collect, collect_images, collect_megabytes, collect_with, summary, lasting, force)
    named = [place for place in images or [] if place != "-"]
    reads_stdin = stdin or null or "-" in (images or [])
    if watch:
        kept.check_outside(named)
    if as_json and csv == "-":
        raise UsageError("--json and --csv - both write to standard output; give --csv a file")
    if nearest and (source is not None or csv is not None):
        raise UsageError("--nearest is shown as text and in --json; leave out --source and --csv")
    if nearest and top == 1 and not as_json:
        raise UsageError("--nearest needs more than the one line an image of --top 1; leave it out, or give --json")
    if source is not None:
        if named or reads_stdin or watch:
            raise UsageError("--source takes one stream and nothing else; leave out images, --stdin and --watch")
        open_and_predict_stream(
            bundle,
            source,
            frames,
            options,
            Limits(max_megapixels, max_megabytes),
            mode=mode,
            rebuild_if_stale=rebuild_if_stale,
            unproven=allow_failed_proof,
            kept=kept,
            every=every,
            timeout_s=timeout,
            at_a_time=at_a_time,
            top=top,
            threshold=threshold,
            as_json=as_json,
            csv=csv,
        )
        return
    total, groups = find_groups(named, reads_stdin=reads_stdin, null=null, interval_s=interval if watch else None)
    if not watch:
        options = for_many(options, total)
    limits = Limits(max_megapixels, max_megabytes)
    opened = open_bundle(bundle, options, rebuild_if_stale=rebuild_if_stale)
    with Classifier.open(opened, options, limits=limits, mode=mode) as classifier, ExitStack() as stack:
        check_threshold(threshold, classifier.bundle.manifest.scores)
        proof = require_no_failed_proof(classifier, unproven=allow_failed_proof)
        say_remarks(classifier.session.facts)
        monitor = stack.enter_context(monitored(classifier, kept, options, limits, threshold))
        writers = open_writers(stack, classifier, top=top, watch=watch, as_json=as_json, csv=csv, force=force)
        run = Run(writers)
        try:
            size = batch_size_here(classifier, at_a_time, total)
            predictions = predict_groups(
                classifier,
                groups,
                run,
                batch_size=size,
                top=top,
                threshold=threshold,
                nearest=nearest,
                observe=monitor.observe,
            )
            scrolls = watch or sys.stdout.isatty()  # predictions that scroll by are progress enough
            for prediction in predictions if scrolls else Bars().track(predictions, total, "predict"):
                run.write(prediction)
                monitor.offer(prediction, prediction.source)
            run.totals.finished = True
        except KeyboardInterrupt:
            if not watch:
                raise
            run.totals.finished = True
        finally:
            run.close()
        next_step = next_step_of(classifier, proof)
    say_passed_over(images or (), run.totals.others, verbose=verbose)
    close_run(run.totals, csv, next_step=next_step, forgiving=watch)
