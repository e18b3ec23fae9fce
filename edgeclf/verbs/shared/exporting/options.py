"""Options that `export` and `zeroshot` share: where bundles go, what proves them, and the accuracy gate of int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.verbs.shared.options import need
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgeclf_export.options import ExportOptions
    from edgeclf_export.quantize.calibration_data import Int8Options
    from edgeclf_runtime.bundle.quantization_report import AccuracyGate

ProofData = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Images to compare the bundle with its reference on; up to nine are stored in the bundle.",
        show_default="photographs of scikit-image and scikit-learn",
    ),
]
Opset = Annotated[int, typer.Option(min=18, max=20, metavar="N", help="ONNX opset version, 18 to 20.")]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**63 - 1, metavar="N", help="Random seed, for random weights and for drawing calibration images."
    ),
]
BundlesFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the bundles.")]
BundleName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the bundles: NAME-TARGET-PRECISION.", show_default="the model's"),
]
CalibData = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Calibration images for int8, best with one subfolder per class.",
        show_default="the run's training images",
    ),
]
CalibImages = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Number of calibration images for int8.", show_default="300")
]
MaxDrop = Annotated[
    str | None,
    typer.Option(
        metavar="D",
        help="Accuracy gate for int8: largest drop of top-1 accuracy (with several labels an image, of mAP) in points "
        "(1.0), or share to retain (99%).",
        show_default="1.0",
    ),
]
_NO_GATE = 50.0  # points: whoever types 90 means 90 %
Fallback = Annotated[
    bool,
    typer.Option(
        "--fallback", help="Fall back to 16 bits if no int8 model passes the accuracy gate, instead of exit code 1."
    ),
]
LearnInt8 = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        metavar="MINUTES",
        help="Minutes of learning through Q/DQ, so that weights adapt to rounding, if no other int8 step passes the "
        "accuracy gate; docs/int8.md shows what it brings.",
        show_default="no learning",
    ),
]
Features = Annotated[
    bool,
    typer.Option(
        "--features",
        help="Give the features before the head as a second output, and keep the class means of the training images: "
        'a second rule for "unknown". For runs.',
    ),
]
NearestImages = Annotated[
    int,
    typer.Option(
        "--nearest-images",
        min=0,
        max=100_000,
        metavar="N",
        help="Number of training images whose features the bundle keeps, for predict --nearest; with --features.",
    ),
]
ResumeLearning = Annotated[bool, typer.Option("--resume", help="Resume an interrupted --learn-int8.")]


def int8_options(
    precision: str,
    calib_data: Path | None,
    calib_images: int | None,
    max_drop: str | None,
    *,
    fallback: bool,
    seed: int,
    learn_minutes: float | None = None,
    resume: bool = False,
) -> Int8Options:
    """What was typed.

    Raises
    ------
    UsageError
        An option that the precision has no use for, or an accuracy gate that is none.
    DataError
        --calib-data is no folder.
    """
    from edgeclf_export.quantize.calibration_data import Int8Options
    from edgeclf_export.quantize.export_quantized import PRECISIONS

    given: dict[str, object] = {
        "calib-data": calib_data,
        "calib-images": calib_images,
        "max-drop": max_drop,
        "fallback": fallback or None,
    }
    given |= {"learn-int8": learn_minutes}
    misplaced = [name for name, value in given.items() if value is not None]
    if precision not in PRECISIONS and misplaced:
        raise UsageError(f"--{misplaced[0]} is for --precision int8 or auto")
    if precision == "auto" and fallback:
        raise UsageError(
            "--fallback is for --precision int8; auto keeps 16 or 32 bits by itself where no int8 model passes"
        )
    if resume and learn_minutes is None:
        raise UsageError("--resume goes on with an interrupted --learn-int8 MINUTES; give that, too")
    if calib_data is not None and not calib_data.is_dir():
        raise DataError(f"--calib-data wants a folder of images, and {calib_data} is none")
    plain = Int8Options()
    return Int8Options(
        calib_data=calib_data,
        calib_images=calib_images,
        gate=plain.gate if max_drop is None else _accuracy_gate(max_drop),
        fallback=fallback,
        seed=seed,
        learn_minutes=learn_minutes,
        resume=resume,
    )


def check_int8(options: ExportOptions, *, brings_images: bool) -> None:
    """What int8 needs, before anything is loaded. `brings_images`: the source is a run, which knows its own.

    Raises UsageError where nobody named images, BackendError where a package is missing.
    """
    from edgeclf_export.quantize.calibration_data import NO_IMAGES
    from edgeclf_export.quantize.export_quantized import PRECISIONS
    from edgeclf_export.targets.registry import TARGETS

    if options.precision not in PRECISIONS:
        return
    if options.int8.calib_data is None and not brings_images:
        raise UsageError(NO_IMAGES)
    quantizers = (TARGETS[target].quantizer for target in options.targets)
    learning = ("torch",) if options.int8.learn_minutes is not None else ()
    needed = (module for each in quantizers if each is not None for module in each.needs)
    need("int8", "onnxruntime", *learning, *needed)


def _accuracy_gate(text: str) -> AccuracyGate:
    """ "0.5" points, or "99%" of the reference's top-1."""
    from edgeclf_runtime.bundle.quantization_report import AccuracyGate

    try:
        if text.endswith("%"):
            return AccuracyGate(points=None, share=float(text[:-1]) / 100)
        gate = AccuracyGate(points=float(text))
    except ValueError:
        raise UsageError(
            f"--max-drop wants points above 0 such as 1.0, or a share to keep such as 99%, found {text!r}"
        ) from None
    if gate.points is not None and gate.points >= _NO_GATE:
        raise UsageError(f"--max-drop {text} lets top-1 fall by {text} points; to keep {text} % of it, give {text}%")
    return gate
