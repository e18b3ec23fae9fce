"""A bundle's class means and its index of training images: what the features of an image are compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json, to_json
from edgeclf_runtime.bundle.feature_info import INDEX, INDEX_NAMES, FeatureInfo
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.bundle.neighbour import Neighbour
from edgeclf_runtime.errors import BundleError, DataError
from edgeclf_runtime.metrics.similarity import ClassMeans, of_length_1

MAKES_FEATURES = "edgeclf export RUN --features"
MAKES_INDEX = "edgeclf export RUN --features --nearest-images 2000"


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """A training image of the index, a line of its JSON."""

    path: str
    label: str


@dataclass(frozen=True, slots=True)
class IndexNames:
    """The images of the index, in the order of its rows."""

    images: tuple[IndexedImage, ...]


class FeatureIndex:
    """Features of training images, of length 1, and their names: which of them are nearest to an image."""

    def __init__(self, rows: NDArray[np.floating], images: tuple[IndexedImage, ...]) -> None:
        self._rows, self._images = of_length_1(rows).astype(np.float32), images  # float16 rounds lengths, too

    def nearest(self, features: NDArray[np.floating], count: int) -> tuple[Neighbour, ...]:
        """The `count` nearest to a (width,) row of features, nearest first."""
        cosines = self._rows @ of_length_1(features[np.newaxis])[0].astype(np.float32)
        order = np.argsort(-cosines, kind="stable")[:count]
        return tuple(
            Neighbour(self._images[place].path, self._images[place].label, round(float(cosines[place]), 4))
            for place in order.tolist()
        )


def feature_info(bundle: Bundle) -> FeatureInfo:
    """What the bundle records of its features. Raises BundleError where it has none: what makes some."""
    info = bundle.manifest.features
    if info is None:
        raise BundleError(f"{bundle.path} has no features; make a bundle that has: {MAKES_FEATURES}")
    return info


def read_class_means(bundle: Bundle) -> ClassMeans:
    """Those of the bundle. Raises BundleError where they don't fit its labels and features."""
    manifest, info = bundle.manifest, feature_info(bundle)
    means = bundle.read_array(info.class_means)
    wanted = (len(manifest.labels), manifest.outputs[1].shape[-1])
    if means.shape != wanted:
        raise BundleError(f"{bundle.path}/{info.class_means}: wanted {wanted} class means, found {means.shape}")
    return ClassMeans(means)


def read_index(bundle: Bundle) -> FeatureIndex:
    """The training images that the bundle keeps. Raises BundleError where it keeps none, or they don't fit."""
    info = bundle.manifest.features
    if info is None or info.index is None or info.index_names is None:
        raise BundleError(
            f"{bundle.path} keeps no training images to compare with; make a bundle that does: {MAKES_INDEX}"
        )
    where = f"{bundle.path}/{info.index_names}"
    try:
        names = from_json(IndexNames, parse_json(bundle.read(info.index_names)), where)
    except (ValueError, DataError) as error:
        raise BundleError(f"{where}: {error}; export the bundle again") from error
    rows = bundle.read_array(info.index)
    if rows.ndim != 2 or len(rows) != len(names.images):
        raise BundleError(f"{where}: {len(names.images)} images for features of {rows.shape}; export the bundle again")
    return FeatureIndex(rows, names.images)


def golden_similarities(manifest: Manifest, read: Callable[[str], NDArray[np.float32]]) -> list[float] | None:
    """Of each golden image as the bundle made it, from its .npy files; None where no threshold regards them."""
    info = manifest.features
    if info is None or manifest.thresholds.features is None:
        return None
    found: list[float] = ClassMeans(read(info.class_means)).similarities(read(info.own)).tolist()
    return found


def write_index(folder: Path, features: NDArray[np.floating], images: tuple[IndexedImage, ...]) -> tuple[str, str]:
    """Writes the index of (N, width) features below the bundle's `folder`; returns the names of its files."""
    (folder / INDEX).parent.mkdir(exist_ok=True)
    np.save(folder / INDEX, of_length_1(features).astype(np.float16), allow_pickle=False)
    text = json.dumps(to_json(IndexNames(images)), ensure_ascii=True, separators=(",", ":"))
    (folder / INDEX_NAMES).write_text(text + "\n", encoding="utf-8")
    return INDEX, INDEX_NAMES
