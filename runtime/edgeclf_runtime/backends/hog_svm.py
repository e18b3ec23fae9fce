"""HOG + SVM backend: the classical baseline as plain arrays, computed in numpy as scikit-learn's SVC does."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.hog import FEATURES, SIDE_PX, grey_levels, hog, set_blas_threads
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BundleError

MODEL = "model.npz"
_WORKING_NUMBERS = 1 << 21  # of the largest array that a chunk of images needs: 16 MB
_LARGEST_CHUNK = 64
_TOO_CLOSE = 1e-4  # where fp32 might get the sign of a decision wrong: its error there is about 1e-6


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
        wanted = {
            "mean": ("float64", (FEATURES,)),
            "scale": ("float64", (FEATURES,)),
            "support_vectors": ("float32", (vectors, FEATURES)),
            "support_counts": ("int64", (classes,)),
            "dual_coefficients": ("float64", (classes - 1, vectors)),
            "intercepts": ("float64", (classes * (classes - 1) // 2,)),
            "gamma": ("float64", ()),
        }
        for name, (dtype, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(f"{name}: wanted {shape} {dtype}, found {array.shape} {array.dtype}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: NaN or infinite")
        if classes < 2 or not vectors or self.support_counts.min() < 0 or self.support_counts.sum() != vectors:
            raise ValueError(f"{vectors} support vectors don't divide into {self.support_counts.tolist()}")
        if not (self.scale.min() > 0 and self.gamma > 0):
            raise ValueError("scale and gamma must be above 0")

    def to_bytes(self) -> bytes:
        """As an uncompressed .npz without pickles; the same arrays always give the same bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{field.name: getattr(self, field.name) for field in fields(self)})
        return buffer.getvalue()


def read_svm(data: bytes) -> Svm:
    """The arrays of `Svm.to_bytes`. Raises ValueError, or what zipfile and numpy raise on damage."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed, and may unpack to any size")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Svm(**{field.name: arrays[field.name] for field in fields(Svm)})


class HogSvmEngine:
    """Margins of each class against the rest. The matrix product is in fp32, its sums and near ties in fp64."""

    compute_precision = "fp32"

    def __init__(self, svm: Svm, options: SessionOptions) -> None:
        self._svm = svm
        self._squares = np.einsum("vf,vf->v", svm.support_vectors, svm.support_vectors, dtype=np.float64)
        ends = np.cumsum(svm.support_counts)
        self._parts = [slice(end - count, end) for end, count in zip(ends, svm.support_counts, strict=True)]
        largest_row = max(len(svm.support_vectors), len(svm.intercepts))
        self._chunk = max(1, min(_LARGEST_CHUNK, _WORKING_NUMBERS // largest_row))
        obeyed = set_blas_threads(options.threads_per_stream)
        self.facts = {
            "engine": "numpy",
            "engine_version": np.__version__,
            "device": "cpu",
            "threads": str(options.thread_count) if obeyed else "as numpy's BLAS decides",
        }

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        images = batch.astype(np.uint8, copy=False)
        chunks = [self._margins(images[start : start + self._chunk]) for start in range(0, len(images), self._chunk)]
        return np.concatenate(chunks).astype(np.float32)

    def close(self) -> None:
        del self._svm

    def _margins(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        scaled = scale_features(hog(grey_levels(images)), self._svm.mean, self._svm.scale)
        pairs = self._decide(scaled)
        close = (np.abs(pairs) < _TOO_CLOSE).any(axis=1)
        if close.any() and len(self._parts) > 2:  # a vote must not depend on how this machine rounds
            pairs[close] = self._decide(scaled[close].astype(np.float64))
        return margins_of_pairs(pairs, len(self._parts))

    def _decide(self, scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 1764) -> (n, pairs) decisions, above 0 for the first class of a pair; in the dtype of `scaled`."""
        svm = self._svm
        products = self._products(scaled)
        squares = np.einsum("nf,nf->n", scaled, scaled, dtype=np.float64)
        kernel = np.exp(-svm.gamma * np.maximum(squares[:, None] + self._squares - 2.0 * products, 0.0))
        if len(self._parts) == 2:  # scikit-learn turns the signs of a single pair round
            return np.asarray(-(kernel @ svm.dual_coefficients.T + svm.intercepts))
        sums = [kernel[:, part] @ svm.dual_coefficients[:, part].T for part in self._parts]  # C times (n, C - 1)
        first, second = np.triu_indices(len(self._parts), 1)
        stacked = np.stack(sums)
        return np.asarray((stacked[first, :, second - 1] + stacked[second, :, first]).T + svm.intercepts)

    def _products(self, scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        vectors = self._svm.support_vectors
        if scaled.dtype == np.float32:
            return np.asarray(scaled @ vectors.T, dtype=np.float64)
        step = max(1, _WORKING_NUMBERS // FEATURES)
        parts = [scaled @ vectors[i : i + step].T.astype(np.float64) for i in range(0, len(vectors), step)]
        return np.concatenate(parts, axis=1)


def scale_features(
    features: NDArray[np.float32], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(N, 1764) features -> standard scores, rounded to float32: a bundle then stores support vectors without loss."""
    return ((features - mean) / scale).astype(np.float32)


def margins_of_pairs(pairs: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """(N, pairs) decisions, above 0 for the first of the two -> (N, classes) margins, the best class largest.

    As scikit-learn's SVC(decision_function_shape="ovr", break_ties=True): each pair gives a vote (libsvm), and the sum
    of a class's decisions, squeezed into less than a third of a vote, settles equal votes. Two classes: -d and d.
    """
    if classes == 2:
        return np.concatenate([pairs, -pairs], axis=1)
    votes, sums = np.zeros((len(pairs), classes)), np.zeros((len(pairs), classes))
    start = 0
    for first in range(classes - 1):
        decisions = pairs[:, start : start + classes - 1 - first]  # first against each later class
        start += decisions.shape[1]
        votes[:, first] += (decisions >= 0).sum(axis=1)
        votes[:, first + 1 :] += decisions < 0
        sums[:, first] += decisions.sum(axis=1)
        sums[:, first + 1 :] -= decisions
    return np.asarray(votes + sums / (3 * (np.abs(sums) + 1)))


def open_engine(bundle: Bundle, options: SessionOptions) -> HogSvmEngine:
    try:
        svm = read_svm(bundle.read(MODEL))
        entry = bundle.manifest.inputs[0]
        if entry.dtype != "uint8" or entry.shape[1:] != (SIDE_PX, SIDE_PX, 3):
            raise ValueError(
                f"it takes (N, {SIDE_PX}, {SIDE_PX}, 3) uint8, the manifest says {entry.shape} {entry.dtype}"
            )
        if len(svm.support_counts) != len(bundle.manifest.labels):
            raise ValueError(f"{len(svm.support_counts)} classes for {len(bundle.manifest.labels)} labels")
        return HogSvmEngine(svm, options)
    except _DAMAGE as error:
        raise BundleError(f"{bundle.path}/{MODEL}: no HOG+SVM classifier ({error})") from error


_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)

BACKEND = Backend(name="hog-svm", module="numpy", oldest="1.24", extra="", open_engine=open_engine)
