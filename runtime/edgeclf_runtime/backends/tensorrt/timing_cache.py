"""TensorRT's timings of kernels, kept between builds: one file per TensorRT version and GPU in the user's cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from edgeclf_runtime.backends.tensorrt.cuda import Gpu
from edgeclf_runtime.backends.tensorrt.library import Library
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import DataError


def timing_cache_path(library: Library, gpu: Gpu | None) -> Path | None:
    """Where the timings lie; None for TensorRT-RTX, which times nothing before it runs."""
    if library.flavour != "tensorrt" or gpu is None:
        return None
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{library.version}-{gpu.name}-sm{gpu.compute_capability}-cuda{gpu.runtime}")
    return root / "edgeclf" / "tensorrt" / f"{name}.timing"


def read_timing_cache(config: Any, path: Path) -> None:
    """Gives the builder the timings of earlier builds, or an empty cache where there are none that fit."""
    try:
        known = path.read_bytes()
    except OSError:  # the first build, or a cache folder that is not this user's
        known = b""
    if known and _set(config, known):
        return
    _set(config, b"")  # of another TensorRT or GPU, or damaged: time afresh


def write_timing_cache(config: Any, path: Path) -> None:
    """Keeps the timings for the next build. Where that fails the next build is slower, and that is all."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    try:
        with writing(path, force=True) as draft:
            draft.write_bytes(bytes(cache.serialize()))
    except DataError:
        pass


def _set(config: Any, known: bytes) -> bool:
    cache = config.create_timing_cache(known)
    return cache is not None and bool(config.set_timing_cache(cache, False))
