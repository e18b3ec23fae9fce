"""What a bundle is: its manifest in words, each file's hash compared, and every proof that it carries."""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Normalization
from edgeclf_runtime.deploy.machine_proofs import FoundProof, find_proofs
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.images.pixels import Pixels


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file of the bundle and whether its bytes still have the hash that the manifest lists."""

    path: str
    bytes: int
    sha256: str
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that is known of a bundle without running it."""

    path: str
    name: str
    digest: str
    packed: bool
    bytes: int
    pixels_in_words: str
    normalization_in_words: str
    manifest: Manifest
    files: tuple[CheckedFile, ...]
    proofs: tuple[FoundProof, ...]


def inspect_bundle(bundle: Bundle) -> Inspection:
    """Reads every file of the bundle once. A changed file is reported, not raised."""
    manifest = bundle.manifest
    files = tuple(
        CheckedFile(path, entry.bytes, entry.sha256, _is_unchanged(bundle, path))
        for path, entry in manifest.files.items()
    )
    return Inspection(
        path=str(bundle.path),
        name=bundle.name,
        digest=bundle.digest,
        packed=not bundle.path.is_dir(),
        bytes=sum(file.bytes for file in files),
        pixels_in_words=describe_pixels(manifest.pixels),
        normalization_in_words=describe_normalization(manifest.normalization),
        manifest=manifest,
        files=files,
        proofs=find_proofs(bundle),
    )


def _is_unchanged(bundle: Bundle, path: str) -> bool:
    try:
        bundle.read(path)
    except BundleError:
        return False
    return True


def describe_pixels(pixels: Pixels | None) -> str:
    """The steps from an image to the network's input, in words."""
    if pixels is None:
        return "takes no images"
    height, width = pixels.resize_px
    target = f"{width}x{height}"
    rules = {
        "shorter": f"resize the shorter side to {height}",
        "cover": f"resize to cover {target}",
        "fit": f"resize to fit inside {target}",
        "exact": f"resize to exactly {target}",
    }
    words = [f"{rules[pixels.resize]} ({pixels.interpolation})"]
    crop = f"{pixels.crop_px[1]}x{pixels.crop_px[0]}"
    if pixels.resize == "fit":
        words.append(f"pad to {crop} with {_colour(pixels.padding)}")
    elif pixels.resize != "exact" or crop != target:
        words.append(f"centre crop {crop}")
    words.append(f"transparent pixels on {_colour(pixels.background)}")
    if pixels.value_range is not None:
        lowest, highest = pixels.value_range
        words.append(f"values {lowest:g} to {highest:g} become 0 to 255")
    return ", ".join(words)


def describe_normalization(normalization: Normalization | None) -> str:
    """What happens to the levels 0..255, and who does it."""
    if normalization is None:
        return "none: the graph takes the pixels as they are"
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (normalization.mean, normalization.std))
    who = "inside the graph" if normalization.applied_by == "graph" else "left to the caller"
    order = "" if normalization.channels == "rgb" else "; the network takes the channels as B, G, R"
    return f"(pixel / 255 - mean) / std, {who}: mean {mean}, std {std}{order}"


def _colour(levels: tuple[int, int, int]) -> str:
    return {(0, 0, 0): "black", (255, 255, 255): "white"}.get(levels, f"rgb{levels}")
