"""Makes torchvision importable beside a CPU build of torch. The one place for it; a no-op where it imports by itself.

torchvision 0.28 comes from PyPI as a CUDA build only. Beside a CPU torch its compiled operators can't be loaded, and
`import torchvision` (so timm and open_clip too) dies with "operator torchvision::nms does not exist": it registers
shape functions for operators that nobody defined. Their schemas are enough, since classifiers never call them.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

_declared: list[Any] = []  # keeps the library alive: its schemas go away with it


def guard_torchvision() -> None:
    """Call before the first import of torchvision, timm or open_clip."""
    import torch

    if _declared or _can_load_operators():
        return
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _can_load_operators() -> bool:
    specification = importlib.util.find_spec("torchvision")
    if specification is None or specification.origin is None:
        return True  # not installed: its own import error reports it
    binaries = sorted(Path(specification.origin).parent.glob("_C*.so"))
    try:
        for binary in binaries:
            ctypes.CDLL(str(binary))
    except OSError:
        return False
    return bool(binaries)
