"""Keeps libtiff, inside Pillow, from writing warnings and errors to the terminal: Pillow itself doesn't."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import PIL._imaging


@lru_cache(maxsize=1)
def silence_libtiff() -> None:
    """Once for the process: what libtiff can't read is still an error in Python. Without libtiff nothing happens."""
    try:
        library = ctypes.CDLL(PIL._imaging.__file__)  # symbols are looked up in what it is linked with
        for setter in (library.TIFFSetWarningHandler, library.TIFFSetErrorHandler):
            setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            setter(None)
    except (AttributeError, OSError):
        return
