"""`predict --collect` and `--summary`, and `edgeclf drift`, as a user types them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from edgeclf.cli import run
from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Thresholds

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Make = Callable[..., Path]


@pytest.fixture
def watched(bundle: Path, classes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle with thresholds, and so with a summary of the validation images, which it had not before."""
    images = [("red", n) for n in range(10)] + [("green", n) for n in range(10)] + [("blue", n) for n in range(10)]
    rows = "".join(f"{label}/{n}.png,{label},{'train' if n == 0 else 'val'}\n" for label, n in images)
    (classes / "data.csv").write_text("path,label,split\n" + rows)
    monkeypatch.chdir(bundle.parent)
    options = ["--split", "val", "--operating-point", "precision=0.5"]
    assert run(["eval", str(bundle), str(classes / "data.csv"), *options]) == 0
    return bundle.with_name("colours-precision0.5")


def test_a_summary_is_written_and_compared_and_a_darker_camera_ends_with_exit_code_1(
    watched: Path, classes: Path, tmp_path: Path, edgeclf: Run
) -> None:
    done = edgeclf("predict", watched, classes, "--summary", "day.json", "--top", "1")
    assert done.returncode == 0 and b"edgeclf drift" in done.stderr
    counted = json.loads((tmp_path / "day.json").read_text())
    assert (counted["images"], counted["answers"]) == (30, {"blue": 10, "green": 10, "red": 10})
    fine = edgeclf("drift", watched, "day.json", "--json")
    assert fine.returncode == 0 and json.loads(fine.stdout)["drift"]["verdict"] == "fine"
    assert b"below 100 images" in fine.stderr

    for path in classes.glob("*/*.png"):
        with Image.open(path) as image:
            ImageEnhance.Brightness(image).enhance(0.4).save(path)
    edgeclf("predict", watched, classes, "--summary", "night.json", "--top", "1")
    drifted = edgeclf("drift", watched, "night.json")
    assert drifted.returncode == 1 and b"drifted: " in drifted.stderr and b"brightness" in drifted.stdout
    again = edgeclf("drift", watched, "night.json", "--since", "night.json", "--json")
    assert again.returncode == 0


def test_summaries_of_another_bundle_and_bundles_without_one_are_refused(
    watched: Path, bundle: Path, photos: Path, tmp_path: Path, edgeclf: Run
) -> None:
    old = edgeclf("predict", bundle, photos, "--summary", "day.json")
    assert old.returncode == 3 and b"edgeclf export RUN" in old.stderr and not old.stdout
    edgeclf("predict", watched, photos, "--summary", "day.json")
    assert edgeclf("predict", watched, photos, "--summary", "day.json").returncode == 2  # it exists
    nowhere = edgeclf("predict", watched, photos, "--summary", photos / "red.png" / "day.json")
    assert nowhere.returncode == 3 and not nowhere.stdout  # before anything is predicted
    changed = json.loads((tmp_path / "day.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**changed, "bundle": "0" * 64}))
    other = edgeclf("drift", watched, "other.json")
    assert other.returncode == 3 and b"compare it with the bundle that made them" in other.stderr
    assert edgeclf("drift", watched, "none.json").returncode == 2
    assert edgeclf("drift", bundle, "day.json").returncode == 3


def test_images_that_two_bundles_predict_otherwise_are_collected_and_then_labelled(
    bundle: Path, photos: Path, make_bundle: Make, tmp_path: Path, edgeclf: Run
) -> None:
    place = make_bundle(tmp_path / "strict")
    seal(place, replace(Bundle.open(place).manifest, thresholds=Thresholds(unknown_below=1.0)))
    done = edgeclf("predict", bundle, photos, "--collect", "kept", "--collect-with", place, "--json")
    assert done.returncode == 0 and b"collected" in done.stderr
    kept = sorted((tmp_path / "kept").glob("*.json"))
    assert kept and all(json.loads(each.read_text())["other_prediction"] for each in kept)
    assert len(json.loads(done.stdout)["predictions"]) == 3
    assert edgeclf("data", "add", "kept", "--sheet").returncode == 0
    assert len((tmp_path / "kept/labels.csv").read_text().splitlines()) == 1 + len(kept)
    inside = edgeclf("predict", bundle, photos, "--watch", "--collect", Path(photos, "kept"))
    assert inside.returncode == 2 and b"which is watched" in inside.stderr and not Path(photos, "kept").exists()
    lone = edgeclf("predict", bundle, photos, "--collect-with", place)
    assert lone.returncode == 2 and b"--collect DIR" in lone.stderr
    other = make_bundle(tmp_path / "others", ("cat", "dog", "cow"))
    strange = edgeclf("predict", bundle, photos, "--collect", "kept2", "--collect-with", other)
    assert strange.returncode == 3 and b"other classes" in strange.stderr
