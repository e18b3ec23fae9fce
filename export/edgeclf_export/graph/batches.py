"""Inputs in the batches that a graph takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def batched(inputs: NDArray[np.generic], fixed: int | None, most: int) -> list[NDArray[np.generic]]:
    """Inputs in batches: of `most`, or as a graph fixes them; what fills no such batch is left out then."""
    if fixed is None:
        return [inputs[place : place + most] for place in range(0, len(inputs), most)]
    if len(inputs) < fixed:
        inputs = np.resize(inputs, (fixed, *inputs.shape[1:]))
    return [inputs[place : place + fixed] for place in range(0, len(inputs) - fixed + 1, fixed)]
