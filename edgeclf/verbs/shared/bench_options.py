"""The options of `edgeclf bench`, each with its help, and the numbers in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.lists import completed_from, each_of
from edgeclf_runtime.errors import UsageError

# the packages' own names, repeated so that --help loads no numpy; a test compares them
Profile = Literal["default", "quick", "mlperf"]
CORRUPTIONS = ("noise", "blur", "jpeg", "brightness", "contrast", "pixelate")

Bundles = Annotated[
    list[str],
    typer.Argument(
        metavar="BUNDLE…",
        help="Bundles to measure: folders, or .tar files that `edgeclf pack` made.",
        autocompletion=completion.bundles,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DATA",
        help="Labelled images for accuracy and parity: a folder with one subfolder per class, a CSV file, or a split "
        "from `edgeclf data split`. Without splits all of it is used, unless a bundle was trained on it.",
        show_default="latency only",
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        metavar="N|all", help="Number of images, drawn at random from the split.", show_default="1000; 200 with --quick"
    ),
]
ReferenceBundle = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="BUNDLE",
        help="Bundle that the others are compared with.",
        show_default="a pytorch one, or the first",
        autocompletion=completion.bundles,
    ),
]
Margin = Annotated[float, typer.Option(metavar="POINTS", help="Non-inferiority margin in points of top-1, or of mAP.")]
Rounds = Annotated[
    int | None,
    typer.Option(min=2, max=1000, metavar="N", help="Number of timing rounds.", show_default="20; 10 with --quick"),
]
Quick = Annotated[bool, typer.Option("--quick", help="Short run, the profile quick: under a minute for three bundles.")]
ProfileName = Annotated[
    Profile,
    typer.Option(help="Measurement profile. mlperf runs the scenarios of MLPerf LoadGen, 30 minutes per bundle."),
]
Duration = Annotated[
    float | None,
    typer.Option(min=0.1, metavar="SECONDS", help="Duration of each throughput scenario.", show_default="by profile"),
]
BatchSizes = Annotated[
    str,
    typer.Option(
        "--batch-sizes",
        "--batch-size",
        "-b",
        metavar="N,N…",
        help="Images per inference call; several: latency is measured for each.",
    ),
]
ThreadCounts = Annotated[
    str | None,
    typer.Option(
        "--threads",
        metavar="N,N…",
        help="Number of threads per inference; several: latency is measured for each.",
        show_default="all cores",
    ),
]
PlainLoop = Annotated[
    bool,
    typer.Option(
        "--plain-loop/--no-plain-loop",
        help="Extra row for a pytorch bundle: a plain loop of PIL, torchvision and eager torch.",
    ),
]
Thumbnails = Annotated[
    bool,
    typer.Option(
        "--thumbnails/--no-thumbnails",
        help="Thumbnails in the report of images that a bundle and the reference classify differently.",
    ),
]
Corruptions = Annotated[
    str | None,
    typer.Option(
        metavar="LIST|all",
        help=f"Image corruptions to measure robustness with: {', '.join(CORRUPTIONS)}, at 3 levels each.",
        autocompletion=completed_from((*CORRUPTIONS, "all")),
        callback=each_of((*CORRUPTIONS, "all")),
    ),
]
CorruptedImages = Annotated[
    int | None,
    typer.Option(
        "--corrupted-images",
        min=2,
        metavar="N",
        help="Number of images to corrupt.",
        show_default="200; 50 with --quick",
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        metavar="REPORT", help="Earlier report that the gates top1_drop, map_drop, p50_ratio and flips refer to."
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GATE",
        help='Gate: exit with code 1 if it holds beyond measurement noise, such as "p50_ms>12" or "NAME: p50_ms>12"; '
        "repeatable. `edgeclf compare --help` lists the figures.",
    ),
]
StrictEnv = Annotated[
    bool,
    typer.Option("--strict-env", help="Exit with code 1 if the machine was busy, hot, throttled or on battery."),
]
Seed = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Random seed for drawing images, ordering rounds and bootstrapping."),
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="JSON file for the report.", show_default="benches/N.json"),
]


def numbers(text: str, option: str) -> tuple[int, ...]:
    """ "1,2,4" -> (1, 2, 4), each once. Raises UsageError."""
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"{option} wants whole numbers such as 1,2,4, found {text!r}") from None
    if min(found) < 1:
        raise UsageError(f"{option} wants numbers above 0, found {text!r}")
    return found


def most_images(text: str | None, usual: int) -> int | None:
    """How many images at most; None: all. Raises UsageError."""
    if text is None:
        return usual
    if text == "all":
        return None
    if not text.isdigit() or not int(text):
        raise UsageError(f"--images wants a number above 0, or all; found {text!r}")
    return int(text)
