"""Options that `export` and `zeroshot` share: where bundles go, what proves them, and what int8 is held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.verbs.shared.options import need
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgeclf_export.exporter import ExportOptions
    from edgeclf_export.quantize.calibration_data import Int8Options
    from edgeclf_runtime.bundle.quantization_report import Floor

ProofData = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Images to prove on; up to nine go into the bundle.", show_default="shipped photographs"
    ),
]
Opset = Annotated[int, typer.Option(metavar="N", help="ONNX opset, 18 to 20.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="For random weights.")]
BundlesFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder that receives the bundles.")]
CalibData = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="int8: images to calibrate on, best a folder a label.",
        show_default="the run's training images",
    ),
]
CalibImages = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="int8: how many of them.", show_default="300")
]
MaxDrop = Annotated[
    str | None,
    typer.Option(
        metavar="D", help="int8: points that top-1 may fall; 99%: the share that must be left.", show_default="1.0"
    ),
]
_NO_FLOOR = 50.0  # points: whoever types 90 means 90 %
Fallback = Annotated[
    bool, typer.Option("--fallback", help="int8: take 16 bits where no int8 holds, instead of exit code 1.")
]


def int8_options(
    precision: str,
    calib_data: Path | None,
    calib_images: int | None,
    max_drop: str | None,
    *,
    fallback: bool,
    seed: int,
) -> Int8Options:
    """What was typed.

    Raises
    ------
    UsageError
        An option that the precision has no use for, or a floor that is none.
    DataError
        --calib-data is no folder.
    """
    from edgeclf_export.quantize.calibration_data import Int8Options
    from edgeclf_export.quantize.selection import PRECISIONS

    given = {"calib-data": calib_data, "calib-images": calib_images, "max-drop": max_drop, "fallback": fallback or None}
    misplaced = [name for name, value in given.items() if value is not None]
    if precision not in PRECISIONS and misplaced:
        raise UsageError(f"--{misplaced[0]} is for --precision int8 or auto")
    if precision == "auto" and fallback:
        raise UsageError("--fallback is for --precision int8; auto keeps 16 or 32 bits by itself where no int8 holds")
    if calib_data is not None and not calib_data.is_dir():
        raise DataError(f"--calib-data wants a folder of images, and {calib_data} is none")
    plain = Int8Options()
    return Int8Options(
        calib_data=calib_data,
        calib_images=calib_images,
        floor=plain.floor if max_drop is None else _floor(max_drop),
        fallback=fallback,
        seed=seed,
    )


def check_int8(options: ExportOptions, *, brings_images: bool, is_bundle: bool = False) -> None:
    """What int8 needs, before anything is loaded. `brings_images`: the source is a run, which knows its own.

    Raises UsageError where nobody named images or the source is a bundle, BackendError where a package is missing.
    """
    from edgeclf_export.quantize.calibration_data import NO_IMAGES
    from edgeclf_export.quantize.selection import PRECISIONS
    from edgeclf_export.targets.registry import TARGETS

    if options.precision not in PRECISIONS:
        return
    if is_bundle:
        raise UsageError(
            f"{options.precision} is judged on images that the reference answers too, and a bundle knows its answers "
            "to the golden images alone; export from the run, model or file that this one came from"
        )
    if options.int8.calib_data is None and not brings_images:
        raise UsageError(NO_IMAGES)
    quantizers = (TARGETS[target].quantizer for target in options.targets)
    need("int8", "onnxruntime", *(module for each in quantizers if each is not None for module in each.needs))


def _floor(text: str) -> Floor:
    """ "0.5" points, or "99%" of the reference's top-1."""
    from edgeclf_runtime.bundle.quantization_report import Floor

    try:
        if text.endswith("%"):
            return Floor(points=None, share=float(text[:-1]) / 100)
        floor = Floor(points=float(text))
    except ValueError:
        raise UsageError(
            f"--max-drop wants points above 0 such as 1.0, or a share to keep such as 99%, found {text!r}"
        ) from None
    if floor.points is not None and floor.points >= _NO_FLOOR:
        raise UsageError(f"--max-drop {text} lets top-1 fall by {text} points; to keep {text} % of it, give {text}%")
    return floor
