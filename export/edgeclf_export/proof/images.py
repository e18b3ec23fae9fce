"""Real images for the proof: the user's, or photographs that come with scikit-image and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.proof.features import FeatureData
from edgeclf_runtime.deploy.golden_items import pixels_digest
from edgeclf_runtime.errors import BackendError, DataError, ImageError, UsageError
from edgeclf_runtime.images.decode import find_images
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.threads import in_threads
from edgeclf_runtime.installing import pip_install
from edgeclf_runtime.monitoring.summary import VALIDATION

# Colour and grey, PNG and JPEG, landscape and square; public domain, CC0 or CC-BY (see each package's notes).
_SHIPPED = {
    "skimage": ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "coins.png"),
    "sklearn": ("china.jpg", "flower.jpg"),
}
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
GOLDEN_IMAGES = 9  # as many as are shipped
_MOST_VALIDATION, _BATCH = 1000, 32


@dataclass(frozen=True)
class ProofImages:
    """Images that a bundle is proven on: their files, and their (N, H, W, 3) uint8 `pixels` by its `contract`.

    `validation`: the training's validation images that they were chosen from, so that the bundle keeps a summary of how
    it predicts them; (): they are others. `summary`: what its parent kept. `features`: with --features.
    """

    files: tuple[Path, ...]
    pixels: NDArray[np.uint8]
    source: str
    contract: Pixels
    validation: tuple[Path, ...] = ()
    summary: bytes | None = None
    features: FeatureData | None = None

    @property
    def batch(self) -> NDArray[np.uint8]:
        """What the engine is given."""
        return self.pixels

    @property
    def sha256(self) -> str:
        return pixels_digest(self.pixels)

    def more_validation(self) -> Iterator[NDArray[np.uint8]]:
        """(N, H, W, 3) batches of validation images beside these, 1,000 in all at most; none that can't be read."""
        others = sorted(set(self.validation) - set(self.files))
        chosen = [others[i] for i in _spread(len(others), max(0, _MOST_VALIDATION - len(self.files)))] if others else []
        loaded = in_threads(self._load, chosen)
        readable = (pixels for pixels in loaded if pixels is not None)
        while batch := list(islice(readable, _BATCH)):
            yield np.stack(batch)

    def _load(self, file: Path) -> NDArray[np.uint8] | None:
        try:
            return self.contract.load(file)[0]
        except ImageError:
            return None

    @property
    def golden(self) -> tuple[int, ...]:
        """Which of them travel with the bundle: at most nine, spread evenly."""
        return _spread(len(self.files), GOLDEN_IMAGES)


def shipped_photographs() -> tuple[Path, ...]:
    """Paths of the photographs inside the installed packages. Raises BackendError where one is not installed."""
    found = []
    for package, names in _SHIPPED.items():
        specification = find_spec(package)
        if specification is None or specification.origin is None:
            raise BackendError(
                f"{package} ships photographs for the proof and is not installed; give --proof-data DIR, or install it "
                f"with: {pip_install('export')}"
            )
        folder = Path(specification.origin).parent / _FOLDERS[package]
        found += [folder / name for name in names if (folder / name).is_file()]
    return tuple(found)


def load_proof_images(
    pixels: Pixels,
    folder: Path | None = None,
    files: Sequence[Path] = (),
    called: str = "the run's validation images",
    most: int = 256,
) -> ProofImages:
    """The images in `folder`, else `files`, else the shipped photographs; at most `most`, spread evenly.

    Raises DataError for a folder without images, and names the file that can't be read.
    """
    found = list(files) or list(shipped_photographs()) if folder is None else find_images(folder)[0]
    if not found:
        raise DataError(f"{folder}: no images to prove the export on")
    chosen = [found[i] for i in _spread(len(found), most)]
    loaded = []
    for file in chosen:
        try:
            loaded.append(pixels.load(file)[0])
        except ImageError as error:
            raise DataError(f"{file}: {error}; take it out of the proof images") from error
    source = "shipped photographs"
    if folder is not None or files:
        place = folder.resolve().name if folder is not None else called
        source = f"{place}: {len(chosen)} of {len(found)} images"
    return ProofImages(tuple(chosen), np.stack(loaded), source, pixels)


def proof_images_of(exportable: Exportable, folder: Path | None) -> ProofImages:
    """The images in `folder`, else the classifier's own, else the shipped photographs.

    Raises UsageError for images that there are no reference outputs for, and as `load_proof_images` does.
    """
    if exportable.parent is None:
        images = load_proof_images(exportable.pixels, folder, exportable.proof_files)
        return replace(images, validation=() if folder is not None else exportable.proof_files)
    if folder is not None:
        raise UsageError(
            "a bundle is proven on its golden images, for which it holds PyTorch's outputs; leave --proof-data out"
        )
    called = f"golden images of {exportable.parent.name}"
    images = load_proof_images(exportable.pixels, files=exportable.proof_files, called=called)
    kept = VALIDATION in exportable.parent.manifest.files
    return replace(images, summary=exportable.parent.read(VALIDATION) if kept else None)


def _spread(total: int, most: int) -> tuple[int, ...]:
    """At most `most` of the indices 0..total-1, evenly spread."""
    count = min(most, total)
    return tuple(i * total // count for i in range(count))
