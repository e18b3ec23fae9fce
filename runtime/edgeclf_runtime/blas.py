"""How many threads numpy's matrix products take: a question to the BLAS library that this process has loaded."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

_LIBRARY = re.compile(r"(/\S*(?:openblas|mkl_rt|blis)\S*\.so\S*)$", re.MULTILINE)
# numpy's own wheels rename OpenBLAS's functions; distributions don't
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
    "bli_thread_set_num_threads",
)


def set_blas_threads(count: int) -> bool:
    """Sets the threads of matrix products for the whole process; False where no BLAS that takes orders is loaded."""
    found = list(_setters())
    for setter in found:
        setter(count)
    return bool(found)


def _setters() -> Iterator[ctypes._NamedFuncPointer]:
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return
    for path in sorted(set(_LIBRARY.findall(maps))):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in _SETTERS:
            if hasattr(library, name):
                setter = getattr(library, name)
                setter.argtypes, setter.restype = (ctypes.c_int,), None
                yield setter
                break
