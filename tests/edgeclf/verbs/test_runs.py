"""`edgeclf runs` lists what a folder holds, whatever state it is in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from edgeclf.cli import run
from edgeclf.listing import list_folder
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, GateEvaluation, Ladder, Step

Make = Callable[..., Path]


def test_runs_and_bundles_are_listed_with_accuracy_and_state_as_table_json_and_page(
    make_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = Bundle.open(make_bundle(tmp_path / "bundles" / "colours"))
    started = tmp_path / "runs" / "started"
    (started / "checkpoint").mkdir(parents=True)
    (started / "config.json").write_text('{"model": "resnet18"}')
    (started / "split.json").write_text('{"root": "/somewhere/photos"}')
    (started / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    ended = tmp_path / "runs" / "ended"
    ended.mkdir()
    (ended / "config.json").write_text('{"model": "resnet18"}')
    (ended / "split.json").write_text('{"root": "/somewhere/photos"}')
    (ended / "model.json").write_text('{"cut_short": true}')
    (ended / "history.jsonl").write_text('{"epoch": 1}\n')
    report = {
        "kind": "evaluation",
        "created_utc": "2026-01-02T03:04:05Z",
        "subject": {"kind": "bundle", "name": "colours", "digest": bundle.digest},
        "evaluation": {"top1": 0.75, "images": 60},
        "split": "test",
        "data": "photos",
    }
    (tmp_path / "evals" / "colours").mkdir(parents=True)
    (tmp_path / "evals" / "colours" / "report.json").write_text(json.dumps(report))
    assert run(["runs", "--json", "-o", "list.html"]) == 0
    found = {each["path"]: each for each in json.loads(capsys.readouterr().out)["found"]}
    assert found["bundles/colours"]["top1"] == 0.75
    assert found["bundles/colours"]["measured_on"] == "60 test images of photos"
    assert found["bundles/colours"]["state"] == "not proven"
    assert found["runs/started"]["state"] == "not finished: 2 epochs, can be resumed"
    assert found["runs/ended"]["state"] == "ended early, by --finish after 1 epoch"
    assert "runs/<wbr>started" in (tmp_path / "list.html").read_text()
    assert run(["runs"]) == 0
    assert "resnet18" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evals/one/report.json", '{"kind": "evaluation", "subject": null, "evaluation": []}'),
        ("evals/one/report.json", '{"kind": "evaluation", "subject": "red", "evaluation": {"top1": "high"}}'),
        ("evals/one/report.json", "[" * 100_000),
        ("runs/run/teacher.json", '{"info": "a teacher"}'),
        ("runs/run/model.json", '{"scores": [1]}'),
        ("runs/run/model.json", '{"scores": {"val_top1": "high"}}'),
        ("runs/run/history.jsonl", "\udcff\n"),
        ("bundles/colours.proofs/results.jsonl", '{"subject": "DIGEST", "top1": 1%s}\n' % ("0" * 400)),
    ],
)
def test_a_damaged_file_hides_no_other_entry(name: str, content: str, make_bundle: Make, tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "bundles" / "colours"))
    (tmp_path / "runs" / "run").mkdir(parents=True)
    for file in ("config.json", "split.json"):
        (tmp_path / "runs" / "run" / file).write_text("{}")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content.replace("DIGEST", bundle.digest).encode(errors="surrogateescape"))
    found = list_folder(tmp_path)
    assert sorted(each.kind for each in found) == ["bundle", "run"]
    assert all(each.accuracy == "n/a" for each in found)


def test_an_empty_folder_is_no_fault_and_a_missing_one_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", str(tmp_path)]) == 0
    assert "no runs or bundles" in capsys.readouterr().err
    assert run(["runs", str(tmp_path / "nowhere")]) == 3
    capsys.readouterr()
    assert run(["runs", str(tmp_path), "-o", str(tmp_path / "list")]) == 2
    assert "--output wants a name that ends in .html" in capsys.readouterr().err and not (tmp_path / "list").exists()


def test_eval_of_a_run_that_is_not_there_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(tmp_path / "nope")]) == 3
    assert f"edgeclf: {tmp_path}/nope: no such run or bundle" in capsys.readouterr().err


def test_an_int8_bundle_has_its_accuracy_on_test_images_and_an_inconclusive_gate_in_its_state(
    make_bundle: Make, tmp_path: Path
) -> None:
    judged = GateEvaluation(
        54, "test images", True, 0.93, 0.94, 1, 2, 1.9, -3.0, 1.0, 0.01, 0.1, 0.1, 0.1, 1.0, "inconclusive", ()
    )
    step = Step("int8 min-max", "int8", "", (), None, 1, judged, became="model")
    place = make_bundle(tmp_path / "int8")
    tiny.reseal(place, ladder=Ladder(AccuracyGate(), (step,), "int8 min-max", "why", (), (), judged, {}))
    (listed,) = list_folder(tmp_path)
    assert (listed.top1, listed.measured_on) == (0.94, "test images")
    assert listed.state.endswith("; accuracy gate: inconclusive")
