"""The JSON that verbs print is what docs/schemas/ says, and docs/schemas/ is what the types say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_reports import made_report, saved

from edgeclf import cli
from edgeclf.json_schemas import DOCUMENTS, schema_of
from edgeclf.verbs.shared.predicting.writers import JsonLinePredictions
from edgeclf_runtime.classifier import Classifier

jsonschema = pytest.importorskip("jsonschema")


def check(document: dict[str, Any], name: str, root: Path) -> None:
    schema = json.loads((root / "docs" / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schemas_in_the_docs_are_those_of_the_types(name: str, root: Path) -> None:
    written = json.loads((root / "docs" / "schemas" / f"{name}.schema.json").read_text())
    assert written == schema_of(name), "python -m edgeclf.json_schemas writes them anew"
    jsonschema.Draft202012Validator.check_schema(written)


@pytest.mark.parametrize(
    ("command", "name", "code"),
    [
        (["predict", "colours", "photos", "missing.png", "--json"], "predict", 3),
        (["verify", "colours", "--json"], "verify", 0),
        (["inspect", "colours", "--image", "photos/red.png", "--json"], "inspect-image", 0),
        (["verify", "nothing", "--json"], "error", 3),
        (["inspect", "colours", "--image", "photos/notes.txt", "--json"], "error", 3),
        (["predict", "--json", "--no-such-option"], "error", 2),
        (["data", "check", "nowhere", "--json"], "error", 2),
    ],
    ids=str,
)
def test_documents_follow_their_schemas(
    command: list[str],
    name: str,
    code: int,
    bundle: Path,
    photos: Path,
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(bundle.parent)
    assert cli.run(command) == code
    document = json.loads(capsys.readouterr().out)
    check(document, name, root)
    assert document["verb"] == " ".join(command[: 2 if command[0] == "data" else 1])


def test_what_serve_and_a_watch_print_for_an_image_is_a_prediction(
    bundle: Path, photos: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Classifier.open(bundle) as classifier:
        (prediction,) = classifier.predict([photos / "red.png"])
    JsonLinePredictions().write(prediction)
    check(json.loads(capsys.readouterr().out), "prediction", root)


def test_an_image_goes_through_the_contract_step_by_step(
    bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["inspect", str(bundle), "--image", str(photos / "red.png"), "--json"]) == 0
    steps = {step["name"]: step for step in json.loads(capsys.readouterr().out)["steps"]}
    assert list(steps) == ["decoded", "resized", "cropped", "input", "normalised"]
    assert steps["decoded"]["shape"] == [10, 12, 3] and steps["resized"]["shape"] == [8, 9, 3]
    assert (steps["input"]["shape"], steps["input"]["dtype"]) == ([1, 8, 8, 3], "uint8")
    assert (steps["normalised"]["shape"], steps["normalised"]["dtype"]) == ([1, 3, 8, 8], "float32")
    red, green, blue = steps["normalised"]["mean"]  # of a red image; this bundle's mean is 0 and its deviation 1
    assert [255 * each for each in (red, green, blue)] == pytest.approx(steps["input"]["mean"], rel=1e-5)
    assert red > 0.8 > 0.2 > green and 0 <= steps["normalised"]["low"] < steps["normalised"]["high"] <= 1


def test_a_comparison_follows_its_schema(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = saved(made_report({"one": (5.0, 60), "two": (6.0, 61)}), tmp_path / "report.json")
    assert cli.run(["compare", str(report), "--fail-if", "p50_ms>100", "-o", "page", "--json"]) == 0
    check(json.loads(capsys.readouterr().out), "compare", root)
