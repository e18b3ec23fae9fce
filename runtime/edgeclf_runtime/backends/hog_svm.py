"""HOG + SVM backend: the classical baseline as plain arrays, computed in numpy as scikit-learn's SVC does."""

from __future__ import annotations

import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.hog import FEATURES, SIDE_PX, grey_levels, hog, set_blas_threads
from edgeclf_runtime.backends.svm import LabelSvm, Svm, read_svm
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BundleError

MODEL = "model.npz"
_WORKING_NUMBERS = 1 << 21  # of the largest array that a chunk of images needs: 16 MB
_LARGEST_CHUNK = 64
_TOO_CLOSE = 1e-4  # where fp32 might get the sign of a decision wrong: its error there is about 1e-6


class HogSvmEngine:
    """Margins of each class against the rest, or logits of several labels, each by itself.

    The matrix product is in fp32, its sums and near ties in fp64.
    """

    compute_precision = "fp32"

    def __init__(self, svm: Svm | LabelSvm, options: SessionOptions) -> None:
        self._svm = svm
        self._squares = np.einsum("vf,vf->v", svm.support_vectors, svm.support_vectors, dtype=np.float64)
        counts = svm.support_counts if isinstance(svm, Svm) else np.zeros(0, dtype=np.int64)
        self._parts = [slice(end - count, end) for end, count in zip(np.cumsum(counts), counts, strict=True)]
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
        chunks = [self._scores(images[start : start + self._chunk]) for start in range(0, len(images), self._chunk)]
        return np.concatenate(chunks).astype(np.float32)

    def close(self) -> None:
        del self._svm

    def _scores(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        svm = self._svm
        scaled = scale_features(hog(grey_levels(images)), svm.mean, svm.scale)
        if isinstance(svm, LabelSvm):
            return np.asarray(self._kernel(scaled) @ svm.dual_coefficients.T + svm.intercepts)
        pairs = self._decide(svm, scaled)
        close = (np.abs(pairs) < _TOO_CLOSE).any(axis=1)
        if close.any() and len(self._parts) > 2:  # a vote must not depend on how this machine rounds
            pairs[close] = self._decide(svm, scaled[close].astype(np.float64))
        return margins_of_pairs(pairs, len(self._parts))

    def _kernel(self, scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 1764) -> (n, V) of each image with each support vector."""
        squares = np.einsum("nf,nf->n", scaled, scaled, dtype=np.float64)
        distances = np.maximum(squares[:, None] + self._squares - 2.0 * self._products(scaled), 0.0)
        return np.asarray(np.exp(-self._svm.gamma * distances))

    def _decide(self, svm: Svm, scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 1764) -> (n, pairs) decisions, above 0 for the first class of a pair; in the dtype of `scaled`."""
        kernel = self._kernel(scaled)
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
        if svm.classes != len(bundle.manifest.labels):
            raise ValueError(f"{svm.classes} classes for {len(bundle.manifest.labels)} labels")
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
