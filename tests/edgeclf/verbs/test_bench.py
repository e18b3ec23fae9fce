"""`edgeclf bench` as it is typed: what it writes, what it refuses, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from brief_bench import brief as brief
from made_reports import made_report
from warm_process import start_edgeclf

from edgeclf.cli import run
from edgeclf.data.split import open_data
from edgeclf.verbs.shared.bench_tables import show_report
from edgeclf_benchmarks.measuring import bench
from edgeclf_benchmarks.measuring.machine_state import Conditions
from edgeclf_benchmarks.measuring.report import read_report
from edgeclf_benchmarks.measuring.reporting import builder
from edgeclf_benchmarks.measuring.timing import PERCENTILES
from edgeclf_runtime.bundle.manifest import Provenance

Make = Callable[..., Path]
QUICK = ("--quick", "--rounds", "2", "--threads", "1", "--duration", "0.1")


pytestmark = pytest.mark.usefixtures("brief")


def test_bench_with_data_writes_a_report_and_counts_the_use_of_the_test_split(
    bundle: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "report.json"
    assert run(["bench", str(bundle), "--data", str(classes), *QUICK, "-o", str(place)]) == 0
    found = capsys.readouterr()
    assert "colours" in found.out and "top-1" in found.out
    assert "30 of 30 images of colours-data (all of a folder without splits), 3 classes" in found.out
    assert "30 test images, use no. 1 of this test split" in found.err and "about" in found.err
    report = read_report(place)
    assert report.data is not None and report.data.classes == ("blue", "green", "red")
    assert report.rows[0].evaluation is not None and report.rows[0].evaluation.top1 == 1.0
    assert (bundle.parent / "colours.proofs" / "test-uses.jsonl").exists()


def test_only_the_validation_images_of_a_bundles_own_split_are_marked_as_having_selected_it(
    make_bundle: Make, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = open_data(classes)
    origin = Provenance("linear", "by hand", "2026-01-02T03:04:05Z", {}, data_sha256=data.digest)
    own, foreign = make_bundle(tmp_path / "own", provenance=origin), make_bundle(tmp_path / "foreign")
    printed = {}
    for place in (own, foreign):
        options = ["--data", str(classes), "--split", "val", *QUICK, "-o", str(tmp_path / f"{place.name}.json")]
        assert run(["bench", str(place), *options]) == 0
        printed[place.name] = capsys.readouterr().out
    assert "6 of 30 images of colours-data (val), 3 classes (selected on these images)" in printed["own"]
    assert "images of colours-data (val, drawn by chance), 3 classes" in printed["foreign"]
    assert "selected on" not in printed["foreign"]
    assert run(["bench", str(own), "--data", str(classes), *QUICK, "-o", str(tmp_path / "test.json")]) == 0
    found = read_report(tmp_path / "test.json").data
    assert found is not None and (len(found.images), found.of_images, found.origin) == (len(data.of("test")), 30, "own")


def test_a_folder_with_some_of_the_classes_is_benched_on_request_and_predictions_stay_among_all(
    bundle: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(classes / "blue")
    options = ["--data", str(classes), *QUICK, "-o", str(tmp_path / "report.json")]
    assert run(["bench", str(bundle), *options]) == 3
    assert "only in the bundle: 'blue'" in (printed := capsys.readouterr().err) and "--classes present" in printed
    assert run(["bench", str(bundle), *options, "--classes", "present"]) == 0
    assert "20 of 20 images of colours-data (all of a folder without splits), 2 of 3 classes present" in (
        capsys.readouterr().out
    )
    report = read_report(tmp_path / "report.json")
    assert report.data is not None and report.data.classes_present == 2
    assert report.data.classes == ("red", "green", "blue") and report.rows[0].evaluation is not None
    assert len(report.rows[0].evaluation.confusion) == 3
    (classes / "red").rename(classes / "crimson")
    assert run(["bench", str(bundle), *options, "--classes", "present", "--force"]) == 3
    assert "1 of its 2 classes are not among the model's 3: 'crimson'" in capsys.readouterr().err


def test_an_inconclusive_proof_is_reported(
    make_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = make_bundle(tmp_path / "few", images=3)
    assert run(["bench", str(few), *QUICK, "-o", str(tmp_path / "r.json")]) == 0
    assert "few: its proof on this machine is inconclusive: engine: 3 images are too few" in capsys.readouterr().err


def test_json_is_the_report(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["bench", str(bundle), *QUICK, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verb"] == "bench" and document["report"]["kind"] == "bench"
    assert document["report"] == json.loads((tmp_path / document["written"]).read_text())


def test_proofs_beside_bundles_are_passed_over(make_bundle: Make, tmp_path: Path) -> None:
    place = make_bundle(tmp_path / "bundles" / "a")
    (tmp_path / "bundles" / "a.proofs").mkdir()
    paths = [str(place), str(tmp_path / "bundles" / "a.proofs")]
    assert run(["bench", *paths, *QUICK, "-o", str(tmp_path / "r.json")]) == 0


@pytest.mark.parametrize(
    ("options", "code", "wanted"),
    [
        (["--profile", "fast"], 2, "--profile takes no 'fast'; choose one of default"),
        (["--quick", "--profile", "mlperf"], 2, "not both"),
        (["--batch-sizes", "1,x"], 2, "--batch-sizes wants"),
        (["--threads", "0"], 2, "--threads wants"),
        (["--images", "many"], 2, "--images wants"),
        (["--images", "5"], 2, "--images is for labelled images; give --data, too"),
        (["--margin", "0"], 2, "margin"),
        (["--margin", "inf"], 2, "margin"),
        (["--data", "missing"], 2, "missing"),
        (["--reference", "missing"], 3, "no such bundle"),
        (["--split", "tests"], 2, "--split takes no 'tests'"),
        (["-o", "."], 2, "exists"),
        (["--device", "tpu"], 4, "device"),
        (["--corruptions", "fog"], 2, "--corruptions takes no 'fog'"),
        (["--corruptions", "all"], 2, "give --data, too"),
    ],
)
def test_invalid_options_get_one_line(
    options: list[str],
    code: int,
    wanted: str,
    make_bundle: Make,
    classes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx = ["--data", str(classes)] if "--split" in options else []
    target = make_bundle(tmp_path / "b")
    if "tpu" in options:
        import tiny

        target = tiny.build(tmp_path / "onnx", "onnx").path
    assert run(["bench", str(target), *options, *onnx]) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert wanted in error[-1]
    assert not list(tmp_path.glob("benches/*"))


def test_a_bundle_of_other_classes_than_the_data_is_refused(
    make_bundle: Make, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_bundle(tmp_path / "other", labels=("red", "green", "\x1b[31mblue"))
    assert run(["bench", str(other), "--data", str(classes), *QUICK, "-o", str(tmp_path / "r.json")]) == 3
    error = capsys.readouterr().err
    assert "not the same" in error and "\x1b" not in error
    assert not (tmp_path / "r.json").exists()


STATES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "load": ({"busy_cores": 3.5}, {"busy_cores": 3.5}, "keep 3.5 of 4 cores busy"),
    "battery": ({"on_battery": True}, {}, "runs on its battery"),
    "throttled": ({"throttle_events": 3}, {"throttle_events": 5}, "heat slowed the CPU down 2 times"),
    "threads": ({"cores": 0}, {}, "1 threads on 0 cores"),
}


def put_in_state(monkeypatch: pytest.MonkeyPatch, *states: str) -> None:
    """The machine, quiet but for those states, before the bench and after it."""
    before = after = Conditions("2026-11-23T15:04:05Z", 0.1, 0.0, 4, 4)
    for about in states:
        before, after = replace(before, **STATES[about][0]), replace(after, **STATES[about][1])
    monkeypatch.setattr(bench, "read_conditions", lambda: before)
    monkeypatch.setattr(builder, "read_conditions", lambda: after)


def test_what_disturbs_a_machine_is_reported_and_the_bench_ends_well(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_state(monkeypatch, *STATES)
    assert run(["bench", str(bundle), *QUICK, "-o", str(tmp_path / "r.json")]) == 0
    printed, cautions = capsys.readouterr().err, read_report(tmp_path / "r.json").cautions
    messages = {**{about: state[2] for about, state in STATES.items()}, "load": "keep 3.5 of 0 cores busy"}
    for about, message in messages.items():
        assert message in printed
        assert any(each.about == about and message in each.found for each in cautions)


@pytest.mark.parametrize("about", ["load", *(pytest.param(about, marks=pytest.mark.slow) for about in [*STATES][1:])])
def test_a_busy_machine_fails_with_strict_env(
    about: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_state(monkeypatch, about)
    place, message = tmp_path / "r.json", STATES[about][2]
    assert run(["bench", str(bundle), *QUICK, "-o", str(place), "--strict-env"]) == 1
    printed = capsys.readouterr().err
    assert "--strict-env" in printed and message in printed
    assert any(each.about == about and message in each.found for each in read_report(place).cautions)


def test_corruptions_are_in_the_table_and_in_the_report(
    make_bundle: Make, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(make_bundle(tmp_path / name)) for name in ("one", "two")]
    place, corrupted = tmp_path / "r.json", ("--corruptions", "noise,blur", "--corrupted-images", "4")
    command = ["bench", *paths, "--data", str(classes), "--split", "all", *corrupted, *QUICK, "-o", str(place)]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "top-1 on 4 images, corrupted" in out and "noise" in out and "jpeg" not in out
    first, second = (row.robustness for row in read_report(place).rows)
    assert first is not None and second is not None
    assert (first.images, len(first.entries), second.mean_change_points) == (4, 6, 0.0)


def test_names_of_bundles_and_classes_are_inert_on_a_terminal(
    make_bundle: Make, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "<b>[red]\x1b[31m"
    os.rename(classes / "red", classes / evil)
    target = make_bundle(tmp_path / "=cmd\x1b[2J", labels=(evil, "green", "blue"))
    assert run(["bench", str(target), "--data", str(classes), *QUICK, "-o", str(tmp_path / "r.json")]) == 0
    found = capsys.readouterr()
    assert "\x1b" not in found.out + found.err
    assert "=cmd\\x1b[2J" in found.out


def test_a_stale_engine_is_built_again_with_rebuild_if_stale(
    make_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.deploy import build

    stale, fresh = make_bundle(tmp_path / "stale"), make_bundle(tmp_path / "fresh")
    monkeypatch.setattr(build, "rebuild_if_stale", lambda bundle, options, progress: Bundle.open(fresh))
    place = tmp_path / "r.json"
    assert run(["bench", str(stale), *QUICK, "-o", str(place)]) == 0
    assert read_report(place).rows[0].name == "stale"
    assert run(["bench", str(stale), "--rebuild-if-stale", *QUICK, "-o", str(place), "--force"]) == 0
    assert read_report(place).rows[0].name == "fresh"


def test_percentiles_that_have_too_few_calls_are_named_below_the_table_and_no_line_where_all_have_enough(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = made_report({"onnx": (5.0, 30)})
    (row,) = report.rows
    enough = tuple(replace(each, **{f"{name}_ms": 5.0 for name in PERCENTILES}) for each in row.latencies)
    few = tuple(replace(each, p99_ms=None) for each in enough)
    for latencies, shown in ((enough, False), (few, True)):
        show_report(replace(report, rows=(replace(row, latencies=latencies),)))
        assert ("too few calls for p99 of every row" in capsys.readouterr().out) == shown


def test_a_bundle_that_fails_its_proof_ends_with_1(make_bundle: Make, bundle: Path, tmp_path: Path) -> None:
    wrong = make_bundle(tmp_path / "wrong", wrong=True)
    place = tmp_path / "r.json"
    assert run(["bench", str(bundle), str(wrong), *QUICK, "-o", str(place)]) == 1
    assert read_report(place).row("wrong").latencies == ()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_leaves_a_report_that_is_marked_incomplete(
    number: signal.Signals, code: int, bundle: Path, tmp_path: Path
) -> None:
    place = tmp_path / "r.json"
    process = start_edgeclf(["bench", str(bundle), "--quick", "--threads", "1", "-o", str(place)], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (process.stderr.exists() and "round 1" in process.stderr.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate(1)
        time.sleep(0.02)
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert "incomplete" in printed and "Traceback" not in printed
    report = read_report(place)
    assert not report.complete
    assert report.rows[0].proof is not None and report.rows[0].cold_start is not None
