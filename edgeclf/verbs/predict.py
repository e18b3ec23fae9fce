"""`edgeclf predict`: a bundle's answers to images, as bars, JSON or CSV."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeclf.console import say, suggest, track
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
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
    Unproven,
    check_threshold,
    for_many,
    need,
    open_bundle,
    pixel_mode,
    require_no_failed_proof,
    say_remarks,
    session_options,
)
from edgeclf.verbs.shared.passed_over import Verbose, say_passed_over
from edgeclf.verbs.shared.stream_options import Every, Frames, Source, StreamTimeout
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.prediction_writers import Totals
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.proof import Proof
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits
    from edgeclf_runtime.images.pixels import PixelMode


def predict(
    bundle: BundlePath,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGES", help="Image files and folders; - reads paths from standard input."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="List the N best classes.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P", help='Below this probability the answer is "unknown".', show_default="what the bundle says"
        ),
    ] = None,
    batch_size: Annotated[
        str,
        typer.Option(
            "--batch-size",
            "-b",
            metavar="N|auto",
            help="Images handed to the engine at a time; auto: tries out how many.",
        ),
    ] = "1",
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    streams: Streams = None,
    pixels: PixelsMode = "exact",
    cache: Cache = None,
    compute_precision: ComputePrecision = None,
    rebuild_if_stale: RebuildIfStale = False,
    unproven: Unproven = False,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read paths from standard input, one a line; same as -.")
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on standard input end with NUL, as find -print0 writes them.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Keep watching the folders: answer what is there, then each new or replaced image once it is "
            "complete. Ctrl-C (or SIGTERM) ends the watch with exit code 0.",
        ),
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="Time between two looks of --watch.")
    ] = 0.5,
    source: Source = None,
    frames: Frames = None,
    every: Every = 1,
    timeout: StreamTimeout = 10.0,
    max_megapixels: MaxMegapixels = 64,
    max_megabytes: MaxMegabytes = 64,
    csv: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Also write a table as CSV; - prints it instead. With --watch and --source, rows are added. Ctrl-C "
            "leaves the rows so far in FILE.interrupted.csv.",
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    force: Force = False,
) -> None:
    """Say what is in images.

    A bad image gets its one error line and the others their predictions; the exit code is then 3. Exit code 1: the
    newest proof of this bundle on this machine failed, so that nothing was predicted; --unproven goes on.

    \b
    Examples:
      edgeclf predict bundles/cats-onnx cat.jpg
      edgeclf predict bundles/cats-onnx photos/ --csv answers.csv
      find . -name '*.jpg' -print0 | edgeclf predict bundles/cats-onnx - -0 --top 1
      edgeclf predict bundles/cats-onnx inbox/ --watch --json
      edgeclf predict bundles/cats-onnx --source /dev/video0 --top 1
    """
    from PIL import Image

    from edgeclf.verbs.shared.predict_images import Run, answer_groups, find_groups, open_writers
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits

    Image.MAX_IMAGE_PIXELS = None  # our own limits are stricter, and options
    options = session_options(device, threads, compute_precision, streams=streams, cache=cache)
    mode, at_a_time = pixel_mode(pixels), _batch_size(batch_size)
    named = [place for place in images or [] if place != "-"]
    reads_stdin = stdin or null or "-" in (images or [])
    if as_json and csv == "-":
        raise UsageError("--json and --csv - both want standard output; give --csv a file")
    if source is not None:
        if named or reads_stdin or watch:
            raise UsageError("--source is one stream and nothing else; leave out images, --stdin and --watch")
        _predict_stream(
            bundle,
            source,
            frames,
            options,
            Limits(max_megapixels, max_megabytes),
            mode=mode,
            rebuild_if_stale=rebuild_if_stale,
            unproven=unproven,
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
        proof = require_no_failed_proof(classifier, unproven=unproven)
        say_remarks(classifier.session.facts)
        writers = open_writers(stack, classifier, top=top, watch=watch, as_json=as_json, csv=csv, force=force)
        run = Run(writers)
        try:
            size = at_a_time or _fastest_batch(classifier)
            answers = answer_groups(classifier, groups, run, batch_size=size, top=top, threshold=threshold)
            scrolls = watch or sys.stdout.isatty()  # answers that scroll by are progress enough
            for prediction in answers if scrolls else track(answers, total, "predict"):
                run.write(prediction)
            run.totals.finished = True
        except KeyboardInterrupt:
            if not watch:
                raise
            run.totals.finished = True
        finally:
            run.close()
        next_step = _next_step(classifier, proof)
    say_passed_over(images or (), run.totals.others, verbose=verbose)
    _close(run.totals, csv, next_step=next_step, forgiving=watch)


def _batch_size(given: str) -> int | None:
    """A number; None for "auto"."""
    if given == "auto":
        return None
    if not (given.isascii() and given.isdecimal() and int(given)):
        raise UsageError(f"--batch-size is a number from 1, or auto, found {given!r}")
    return int(given)


def _fastest_batch(classifier: Classifier) -> int:
    """The smallest batch that comes near the most images a second here."""
    from edgeclf_runtime.deploy.batch_size import fastest_batch

    found = fastest_batch(classifier.session, classifier.bundle.manifest)
    say(f"batches of {found}", style="dim")
    return found


def _predict_stream(
    bundle: str,
    place: str,
    frames: str | None,
    options: SessionOptions,
    limits: Limits,
    *,
    mode: PixelMode,
    rebuild_if_stale: bool,
    unproven: bool,
    at_a_time: int | None,
    **how: Any,
) -> None:
    """Opens the bundle and answers the frames at `place`."""
    from edgeclf.verbs.shared.predict_stream import StreamOptions, predict_stream
    from edgeclf.video.sources import find_source
    from edgeclf_runtime.classifier import Classifier

    if frames not in (None, "newest", "all"):
        raise UsageError(f"no way of taking frames {frames!r}; choose one of newest, all")
    need("video", "av")
    found = find_source(place)
    opened = open_bundle(bundle, options, rebuild_if_stale=rebuild_if_stale)
    with Classifier.open(opened, options, limits=limits, mode=mode) as classifier:
        check_threshold(how["threshold"], classifier.bundle.manifest.scores)
        proof = require_no_failed_proof(classifier, unproven=unproven)
        say_remarks(classifier.session.facts)
        size = at_a_time or _fastest_batch(classifier)
        newest = found.live if frames is None else frames == "newest"
        predict_stream(classifier, found, StreamOptions(newest=newest, batch_size=size, **how))
        next_step = _next_step(classifier, proof)
    _suggest(next_step)


def _next_step(classifier: Classifier, proof: Proof | None) -> str | None:
    """What makes the proof of this machine, engine and pixel mode where it is missing or failed."""
    from edgeclf_runtime.deploy.machine_proofs import verify_command

    if proof is not None and proof.verdict != "fail":
        return None
    why = "not yet proven on this machine" if proof is None else "its proof on this machine failed"
    return f"{verify_command(classifier)}   ({why})"


def _suggest(next_step: str | None) -> None:
    if next_step is not None:
        suggest(next_step)


def _close(totals: Totals, csv: str | None, *, next_step: str | None, forgiving: bool) -> None:
    """The last lines, what to type next, and exit code 3 for what can't be read."""
    images = count(totals.images, "image")
    if totals.images > 1 or totals.others:
        say(images, style="dim")
    if csv not in (None, "-"):
        say(f"wrote {csv}", style="dim")
    _suggest(next_step)
    if forgiving or not (totals.errors or totals.empty_folders):
        return
    if totals.images + totals.empty_folders == 1:
        raise typer.Exit(DataError.exit_code)  # its own line said it all
    faults = [f"{totals.errors} of {images} could not be read"] if totals.errors else []
    if totals.empty_folders:
        faults.append(f"{count(totals.empty_folders, 'folder')} held no image")
    raise DataError("; ".join(faults))
