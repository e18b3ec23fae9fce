"""The folder for an Android app: what the phone's test reads is what `verify` compares here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edgeclf_export.targets.android import TEST, write_module
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.session import open_session

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return write_module(tiny.build(tmp_path / "leaves", "litert"), tmp_path / "android")


def replayed(module: Path, bundle: Bundle, kind: str) -> NDArray[np.bool_]:
    """As GoldenReplayTest.kt does: whether each image's logits lie within its limit."""
    folder = module / "androidTest/assets/leaves"
    facts = json.loads((folder / "golden.json").read_text())
    rows = np.fromfile(folder / f"{kind}.bin", "<f4").reshape(facts["images"], facts["classes"] + 1)
    pixels = np.fromfile(folder / "pixels.bin", np.uint8).reshape(-1, tiny.SIDE, tiny.SIDE, 3)
    assert pixels[0].size == facts["pixelBytes"] and len(pixels) == facts["images"]
    with open_session(bundle) as session:
        return np.asarray(np.abs(session(pixels) - rows[:, 1:]).max(axis=1) <= rows[:, 0])


@pytest.mark.parametrize("kind", ["reference", "own"])
def test_the_replay_passes_for_this_model_and_fails_for_another(kind: str, module: Path, tmp_path: Path) -> None:
    assert replayed(module, Bundle.open(tmp_path / "leaves"), kind).all()
    assert not replayed(module, tiny.replace_weights(tmp_path / "leaves", seed=1), kind).any()


def test_the_app_gets_the_bundles_own_model_and_its_labels(module: Path, tmp_path: Path) -> None:
    assets, bundle = module / "main/assets/leaves", Bundle.open(tmp_path / "leaves")
    assert (assets / "model.tflite").read_bytes() == bundle.read("model.tflite")
    assert (assets / "manifest.json").read_bytes() == bundle.manifest_bytes
    assert (assets / "labels.txt").read_text().splitlines() == list(tiny.LABELS)


def test_the_test_names_the_bundle_and_what_was_never_tried(module: Path) -> None:
    text = (module / TEST).read_text()
    assert 'BUNDLE = "leaves"' in text and "NEVER RUN ON A PHONE" in text
    assert "Never run on a phone" in (module / "README.md").read_text()
    assert "@NAME@" not in text and "@MODEL@" not in text


def test_a_bundle_for_another_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--layout android is for bundles of litert, not of onnx"):
        write_module(tiny.build(tmp_path / "o", "onnx"), tmp_path / "android")
    assert not (tmp_path / "android").exists()
