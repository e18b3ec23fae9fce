"""Reference backend: a linear classifier on raw pixels in numpy. The shortest example of an engine; tests use it."""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BundleError

MODEL = "model.npz"


class LinearEngine:
    """logits = pixels / 255 @ weight + bias, with weight (H * W * 3, classes) and bias (classes,)."""

    compute_precision = "fp32"

    def __init__(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self._weight, self._bias = weight, bias
        self.facts = {"engine": "numpy", "engine_version": np.__version__, "device": "cpu"}

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        return self.infer_with_features(batch)[0]

    def infer_with_features(self, batch: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        features = batch.reshape(len(batch), -1).astype(np.float32) / np.float32(255)
        return np.asarray(features @ self._weight + self._bias, dtype=np.float32), features

    def close(self) -> None:
        pass


def open_engine(bundle: Bundle, options: SessionOptions) -> LinearEngine:
    try:
        with np.load(io.BytesIO(bundle.read(MODEL)), allow_pickle=False) as arrays:
            weight, bias = arrays["weight"].astype(np.float32), arrays["bias"].astype(np.float32)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise BundleError(f"{bundle.path}/{MODEL}: no linear classifier ({error})") from error
    return LinearEngine(weight, bias)


BACKEND = Backend(name="reference", module="numpy", oldest="1.24", extra="", open_engine=open_engine)
