"""Support vector machines as plain arrays: one for classes, pair by pair, and one for each of several labels."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.hog import FEATURES

Shape = tuple[str, tuple[int, ...]]  # of an array: its dtype, and its shape


@dataclass(frozen=True, slots=True)
class Svm:
    """A standard scaler and a support vector machine with an RBF kernel, for V support vectors and C classes.

    Attributes
    ----------
    mean, scale
        (1764,) float64: features become (feature - mean) / scale, rounded to float32.
    support_vectors
        (V, 1764) float32, class after class in the order of the manifest's labels.
    support_counts
        (C,) int64: how many of them are each class's.
    dual_coefficients, intercepts
        (C - 1, V) and (C * (C - 1) / 2,) float64, as in scikit-learn's SVC: pairs (0, 1), (0, 2), …, (C - 2, C - 1).
    gamma
        () float64: the kernel is exp(-gamma * squared distance).
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    support_vectors: NDArray[np.float32]
    support_counts: NDArray[np.int64]
    dual_coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    gamma: NDArray[np.float64]

    def __post_init__(self) -> None:
        classes, vectors = len(self.support_counts), len(self.support_vectors)
        _check_arrays(
            self,
            {
                "support_counts": ("int64", (classes,)),
                "dual_coefficients": ("float64", (classes - 1, vectors)),
                "intercepts": ("float64", (classes * (classes - 1) // 2,)),
            },
        )
        if classes < 2 or not vectors or self.support_counts.min() < 0 or self.support_counts.sum() != vectors:
            raise ValueError(f"{vectors} support vectors don't divide into {self.support_counts.tolist()}")

    @property
    def classes(self) -> int:
        return len(self.support_counts)

    def to_bytes(self) -> bytes:
        """As an uncompressed .npz without pickles; the same arrays always give the same bytes."""
        return _to_npz(self)


@dataclass(frozen=True, slots=True)
class LabelSvm:
    """A support vector machine for each of L labels, on the same scaled features and with the same kernel as `Svm`.

    Attributes
    ----------
    support_vectors
        (V, 1764) float32: those of all labels together.
    dual_coefficients, intercepts
        (L, V) and (L,) float64: a label's logit is their product with the kernel, plus the intercept. They hold the
        scale and offset that make a probability of its sigmoid (Platt, 1999), and 0 for another label's vectors.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    support_vectors: NDArray[np.float32]
    dual_coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    gamma: NDArray[np.float64]

    def __post_init__(self) -> None:
        labels, vectors = len(self.intercepts), len(self.support_vectors)
        _check_arrays(self, {"dual_coefficients": ("float64", (labels, vectors)), "intercepts": ("float64", (labels,))})
        if not labels or not vectors:
            raise ValueError(f"{labels} labels and {vectors} support vectors; both are needed")

    @property
    def classes(self) -> int:
        return len(self.intercepts)

    def to_bytes(self) -> bytes:
        """As those of `Svm`."""
        return _to_npz(self)


def read_svm(data: bytes) -> Svm | LabelSvm:
    """What `to_bytes` of either wrote, told apart by the names of the arrays.

    Raises ValueError, or what zipfile and numpy raise on damage.
    """
    arrays = _arrays(data)
    return Svm(**arrays) if "support_counts" in arrays else LabelSvm(**arrays)


def _arrays(data: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed, and may unpack to any size")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        known = {field.name for field in fields(Svm)}
        return {name: arrays[name] for name in arrays.files if name in known}


def _to_npz(svm: Svm | LabelSvm) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{field.name: getattr(svm, field.name) for field in fields(svm)})
    return buffer.getvalue()


def _check_arrays(svm: Svm | LabelSvm, own: Mapping[str, Shape]) -> None:
    """Raises ValueError unless those that both have, and its `own`, are of their dtype and shape, and finite."""
    wanted: dict[str, Shape] = {
        "mean": ("float64", (FEATURES,)),
        "scale": ("float64", (FEATURES,)),
        "support_vectors": ("float32", (len(svm.support_vectors), FEATURES)),
        "gamma": ("float64", ()),
        **own,
    }
    for name, (dtype, shape) in wanted.items():
        array = getattr(svm, name)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name}: wanted {shape} {dtype}, found {array.shape} {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: NaN or infinite")
    if not (svm.scale.min() > 0 and svm.gamma > 0):
        raise ValueError("scale and gamma must be above 0")
