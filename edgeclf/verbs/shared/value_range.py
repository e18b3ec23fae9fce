"""`--bit-depth` and `--window`: which stored values of images of more than 8 bits are black and white."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from edgeclf_runtime.errors import UsageError

BitDepth = Annotated[
    int | None, typer.Option(min=9, max=16, metavar="BITS", help="Bits that 16-bit images really use, 9 to 16.")
]
Window = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="Pixel values to map to black and white, for images of more than 8 bits."),
]


def value_range_of(bit_depth: int | None, window: str | None) -> tuple[float, float] | None:
    """The stored values that become black and white. Raises UsageError for values that are not valid."""
    if bit_depth is not None and window is not None:
        raise UsageError("give either --bit-depth or --window, not both")
    if window is not None:
        try:
            low, high = (float(part) for part in window.split(","))
        except ValueError:
            raise UsageError(f"--window wants two numbers such as 0,4095, found {window!r}") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"--window wants LOW below HIGH, both finite, found {window!r}")
        return low, high
    return None if bit_depth is None else (0.0, 2.0**bit_depth - 1)


def options_for(value_range: tuple[float, float] | None) -> str:
    """The option for it, with a blank in front; empty for all bits of a file."""
    if value_range is None:
        return ""
    low, high = value_range
    bits = math.log2(high + 1) if low == 0 else 0
    if bits in range(9, 17):
        return f" --bit-depth {bits:.0f}"
    return f" --window {low:g},{high:.10g}"
