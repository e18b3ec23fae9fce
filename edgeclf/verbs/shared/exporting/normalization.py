"""--mean, --std and --scale of a foreign ONNX file: how its pixels become floats, on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.bundle.manifest import Normalization

IMAGENET_MEAN = "0.485,0.456,0.406"
_WHITE = 255.0
_ROUNDING = 1.001

Triple = tuple[float, float, float]


def foreign_normalization(mean: str | None, std: str | None, scale: float | None) -> Normalization | None:
    """(pixel * scale - mean) / std as the manifest has it, of pixels divided by 255; None where nothing was given.

    Raises UsageError for values that are no normalisation, or of another scale than pixels have.
    """
    from edgeclf_runtime.bundle.manifest import Normalization

    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"--scale wants a factor above 0 such as 1 or 0.00392157 (1/255), found {scale:g}")
    if mean is None or std is None:
        if scale is not None:
            raise UsageError("--scale goes with --mean R,G,B and --std R,G,B, 0,0,0 and 1,1,1 where there are none")
        return None
    means, stds = _triple(mean, "--mean"), _triple(std, "--std")
    white = 1.0 if scale is None else _WHITE * scale
    _check_scale(mean, std, means, stds, scale, white)
    return Normalization(_divided(means, white), _divided(stds, white))


def _check_scale(mean: str, std: str, means: Triple, stds: Triple, scale: float | None, white: float) -> None:
    """`white` is what 255 becomes: no mean can lie above it, nor any deviation."""
    if max(map(abs, (*means, *stds))) <= white * _ROUNDING:
        return
    if scale is not None:
        raise UsageError(
            f"--mean {mean} --std {std} are beyond the pixels that --scale {scale:g} gives (0 to {white:g}); give them "
            "after that factor"
        )
    levels_mean, levels_std = max(map(abs, means)) > _ROUNDING, max(stds) >= 1
    wanted_mean = _divided(means, _WHITE) if levels_mean else means
    wanted_std = _divided(stds, _WHITE) if levels_std else stds
    undivided = ", or --scale 1 with the values as they are" if levels_std and (levels_mean or not any(means)) else ""
    raise UsageError(
        f"--mean {mean} --std {std} are of pixels 0 to 255, wanted are those of 0 to 1: give "
        f"--mean {_shown(wanted_mean)} --std {_shown(wanted_std)}{undivided}"
    )


def _divided(values: Triple, by: float) -> Triple:
    first, second, third = (value / by for value in values)
    return first, second, third


def _shown(values: Triple) -> str:
    return ",".join(f"{value:.6g}" for value in values)


def _triple(text: str, option: str) -> Triple:
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} wants three numbers such as {IMAGENET_MEAN}, found {text!r}") from None
    if not all(map(math.isfinite, (red, green, blue))) or (option == "--std" and min(red, green, blue) <= 0):
        raise UsageError(f"{option} wants finite numbers{', above 0' if option == '--std' else ''}, found {text!r}")
    return red, green, blue
