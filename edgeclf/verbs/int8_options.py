"""Options of --precision int8 and auto, for the verbs that make bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.verbs.options import need
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_export.exporter import ExportOptions
    from edgeclf_export.quantize.material import Int8Options
    from edgeclf_runtime.ladder import Floor

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
Fallback = Annotated[
    bool, typer.Option("--fallback", help="int8: take 16 bits where no int8 holds, instead of exit code 1.")
]
_PRECISIONS = ("int8", "auto")


def int8_options(
    precision: str,
    calib_data: Path | None,
    calib_images: int | None,
    max_drop: str | None,
    *,
    fallback: bool,
    seed: int,
) -> Int8Options:
    """Raises UsageError for an option that the precision has no use for."""
    from edgeclf_export.quantize.material import Int8Options

    given = {"calib-data": calib_data, "calib-images": calib_images, "max-drop": max_drop, "fallback": fallback or None}
    misplaced = [name for name, value in given.items() if value is not None]
    if precision not in _PRECISIONS and misplaced:
        raise UsageError(f"--{misplaced[0]} is for --precision int8 or auto")
    if precision == "auto" and fallback:
        raise UsageError("--fallback is for --precision int8; auto keeps 16 or 32 bits by itself where no int8 holds")
    plain = Int8Options()
    return Int8Options(
        calib_data=calib_data,
        calib_images=calib_images or plain.calib_images,
        floor=plain.floor if max_drop is None else _floor(max_drop),
        fallback=fallback,
        seed=seed,
    )


def _floor(text: str) -> Floor:
    """ "0.5" points, or "99%" of the reference's top-1."""
    from edgeclf_runtime.ladder import Floor

    try:
        if text.endswith("%"):
            return Floor(points=None, share=float(text[:-1]) / 100)
        return Floor(points=float(text))
    except ValueError:
        raise UsageError(
            f"--max-drop wants points above 0 such as 1.0, or a share to keep such as 99%, found {text!r}"
        ) from None


def need_quantizers(options: ExportOptions) -> None:
    """Raises BackendError, with the line that installs them, where int8 is asked for and its libraries are missing."""
    if options.precision in _PRECISIONS:
        need("int8", "onnxruntime", *(["nncf", "openvino"] if "openvino" in options.targets else []))
