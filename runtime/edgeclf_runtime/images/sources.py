"""What an image may be given as, the bytes of its file, and one line for everything else that might be given."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, BinaryIO, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import ImageError, UsageError
from edgeclf_runtime.images.limits import Limits

ImageSource = Union[str, "os.PathLike[str]", BinaryIO, bytes, bytearray, memoryview, NDArray[np.generic], Image.Image]
_SOURCES = (np.ndarray, bytes, bytearray, memoryview, str, Image.Image, os.PathLike)  # an ABC is slow, and so last
_WANTED = "wanted an image (a path, bytes, a binary file, a PIL image or an array of (H, W, 3) uint8)"


def is_source(given: object) -> bool:
    """True for one image (or a path, which may be a folder's), False for an iterable of them and for all else."""
    return isinstance(given, _SOURCES) or hasattr(given, "read")


def not_a_source(given: Any) -> UsageError:
    """The error for what is no image: what was wanted, what was found, what to give in its place."""
    if hasattr(given, "__dlpack__"):
        return UsageError(f"{_WANTED}, found {_tensor(given)}")
    kind = type(given).__name__
    if isinstance(given, Mapping):
        return UsageError(f"{_WANTED}, found a {kind}; give its entry that holds the path, the bytes or the image")
    if isinstance(given, (int, float, np.generic)):
        hint = "make an array of a list of pixel values first: numpy.asarray(values, dtype=numpy.uint8)"
        return UsageError(f"{_WANTED}, found the number {given}; {hint}")
    return UsageError(f"{_WANTED}, found {kind}; give one of these, or an iterable of them")


def _tensor(tensor: Any) -> str:
    """A tensor of torch, TensorFlow or JAX by type, shape and dtype, and how it becomes arrays."""
    shape = tuple(getattr(tensor, "shape", ()))
    found = f"{type(tensor).__module__.partition('.')[0]}.{type(tensor).__name__}"
    if shape:
        found += f" of shape {shape}, {getattr(tensor, 'dtype', '')}".replace("torch.", "").rstrip(", ")
    if not found.startswith("torch."):
        return f"{found}; give numpy arrays of (H, W, 3) uint8"
    arrays = "tensor.permute(1, 2, 0).cpu().numpy()"
    if len(shape) == 4:
        arrays = "list(tensor.permute(0, 2, 3, 1).cpu().numpy())"
    return f"{found}; give {arrays}, uint8 of 0..255 as before any normalisation"


def read_source(source: str | os.PathLike[str] | BinaryIO, limits: Limits) -> bytes:
    """The bytes of a path or binary file. Raises ImageError where it can't be read or is larger than `limits`."""
    if not isinstance(source, (str, os.PathLike)):
        return _read_file_object(source, int(limits.megabytes * 1e6) + 1)
    try:
        with open(source, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("not a regular file")
            limits.check_bytes(status.st_size)
            return file.read()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error
    except ValueError as error:  # a null byte in the name
        raise ImageError(str(error)) from error


def _read_file_object(file: BinaryIO, most: int) -> bytes:
    """From where it stands; one that stands at its end, as after writing, from its start."""
    try:
        data = file.read(most)
        if data == b"" and (file.seekable() if hasattr(file, "seekable") else hasattr(file, "seek")):
            file.seek(0)
            data = file.read(most)
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise ImageError(str(error)) from error
    if not isinstance(data, bytes):
        raise ImageError("the file object gives text; open it in binary mode ('rb')")
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe must not hang the caller
