"""A litert bundle as a folder for an Android app: assets, and a test that replays its golden images on the phone.

Never run on a phone by the authors. The folder has the layout of an Android module's `src`, and is copied into one.
The proof is `verify`'s, without its means over all images: each image's logits against the reference's, and more
tightly against those that the model itself gave where it was exported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.targets.label_lines import LABELS, label_lines
from edgeclf_runtime.backends.litert import BACKEND, MODEL
from edgeclf_runtime.bundle.atomic_write import MANIFEST, writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.own_check import own_tolerances
from edgeclf_runtime.bundle.proof import spans
from edgeclf_runtime.deploy.golden_items import golden_batch
from edgeclf_runtime.errors import UsageError

ASSETS, TEST_ASSETS, TEST = "main/assets", "androidTest/assets", "androidTest/java/edgeclf/GoldenReplayTest.kt"


@dataclass(frozen=True, slots=True)
class Replay:
    """What the phone compares, a row an image: the wanted logits, and how far each may be off (in logits)."""

    wanted: NDArray[np.float32]
    limits: NDArray[np.float32]


def check_android(target: str) -> None:
    """Raises UsageError for bundles that hold no .tflite."""
    if target != BACKEND.name:
        raise UsageError(f"--layout android is for bundles of {BACKEND.name}, not of {target}; give -t {BACKEND.name}")


def write_module(bundle: Bundle, folder: Path, *, force: bool = False) -> Path:
    """Writes `folder`/NAME, whole or not at all, and returns it.

    Raises UsageError as `check_android`, for a bundle that takes no uint8 pixels, and where NAME exists.
    """
    manifest = bundle.manifest
    check_android(manifest.target)
    if manifest.task != "classify" or manifest.inputs[0].dtype != "uint8" or manifest.own is None:
        raise UsageError(f"--layout android is for classifiers that take uint8 pixels; {bundle.name} is another")
    place, name = folder / bundle.name, bundle.name
    reference, own = (bundle.read_array(path) for path in (manifest.golden.outputs, manifest.own.outputs))
    computed = {manifest.own.compute_precision, manifest.compute_precision}
    closer = own_tolerances(manifest.weights_precision, computed, differs=True)  # a phone is another processor
    replays = {
        "reference": _replay(reference, manifest.tolerances.relative),
        "own": _replay(own, closer.relative),
    }
    with writing(place, force=force) as draft:
        assets, test_assets = draft / ASSETS / name, draft / TEST_ASSETS / name
        for made in (assets, test_assets, (draft / TEST).parent):
            made.mkdir(parents=True)
        (assets / MODEL).write_bytes(bundle.read(MODEL))
        (assets / MANIFEST).write_bytes(bundle.manifest_bytes)
        (assets / LABELS).write_text(label_lines(manifest.labels), encoding="utf-8")
        pixels = golden_batch(bundle)
        (test_assets / "pixels.bin").write_bytes(pixels.tobytes())
        for kind, replay in replays.items():
            (test_assets / f"{kind}.bin").write_bytes(_rows(replay))
        facts = {"images": len(pixels), "pixelBytes": pixels[0].size, "classes": len(manifest.labels)}
        (test_assets / "golden.json").write_text(json.dumps({**facts, "manifest": bundle.digest}) + "\n")
        (draft / TEST).write_text(_text("android_replay.kt.txt", name), encoding="utf-8")
        (draft / "README.md").write_text(_text("android_readme.md.txt", name), encoding="utf-8")
    return place


def _replay(wanted: NDArray[np.float32], relative: float) -> Replay:
    limits = relative * spans(wanted.astype(np.float64))
    return Replay(wanted, limits.astype(np.float32))


def _rows(replay: Replay) -> bytes:
    """Of each image the limit and the logits, float32, little-endian."""
    return np.column_stack([replay.limits, replay.wanted]).astype("<f4").tobytes()


def _text(template: str, name: str) -> str:
    text = files("edgeclf_export.targets").joinpath(template).read_text(encoding="utf-8")
    quoted = "".join(letter for letter in name if letter.isprintable() and letter not in '"\\$`')
    return text.replace("@NAME@", quoted).replace("@MODEL@", MODEL)
