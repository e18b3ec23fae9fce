"""`edgeclf predict`: a bundle's predictions for images, as bars, JSON or CSV."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeclf.verbs.shared.monitoring_options import Collect, CollectImages, CollectMegabytes, CollectWith, SummaryPath
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
    Verbose,
)
from edgeclf.verbs.shared.predicting.run import PredictRequest, run_predict
from edgeclf.verbs.shared.predicting.stream_options import Every, Frames, Source, StreamTimeout


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
    asked = PredictRequest(**locals())  # has a field for each parameter
    if code := run_predict(asked):
        raise typer.Exit(code)
