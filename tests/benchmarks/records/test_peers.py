"""edgeclf beside its peers: the bound, what a worker says, and the tables that are made from the record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeclf_benchmarks.records.measured_table import PAGE, ROOT, between
from edgeclf_benchmarks.records.peers.bound import bound, summary
from edgeclf_benchmarks.records.peers.cold_starts import measure_cold_starts
from edgeclf_benchmarks.records.peers.contenders import ROWS, Contender, contenders
from edgeclf_benchmarks.records.peers.environments import REQUIREMENTS
from edgeclf_benchmarks.records.peers.rounds import (
    WORKERS,
    Entrant,
    WorkerFailed,
    measure,
    opened_line,
    turn_of,
)
from edgeclf_benchmarks.records.peers.table import BEGIN, END, tables
from edgeclf_benchmarks.records.peers.workers.worker import images_and_passes

RECORD = ROOT / "benchmarks" / "results" / "peers.json"
TOY = """
def open_peer(settings):
    if settings["broken"]:
        raise ValueError("no such model")
    print("a peer may print what it likes")
    return lambda files: [len(file) % 2 for file in files], {"batch": 1}
"""


def _found(name: str, role: str, pixels: str, rate: float | None) -> dict[str, Any]:
    named = {"name": name, "role": role, "pixels": pixels}
    return {**named, "failed": "why"} if rate is None else {**named, "images_per_s": {"median": rate}}


CONTENDERS = [
    _found("edgeclf, exact, batch 1", "edgeclf", "exact", 150),
    _found("edgeclf, exact, auto", "edgeclf", "exact", 180),
    _found("edgeclf, fast, auto", "edgeclf", "fast", 300),
    _found("by hand, exact, batches of 8", "by hand", "exact", 170),
    _found("by hand, fast, batches of 8", "by hand", "fast", 310),
    _found("model_api", "peer", "own", 200),
    _found("Ultralytics", "peer", "own", None),
    _found("Optimum", "peer", "exact", 120),
    _found("pixels, exact", "part", "exact", 300),
    _found("pixels by hand, exact", "part", "exact", 400),
    _found("pixels, fast", "part", "fast", 1200),
    _found("engine, batch 1", "part", "exact", 350),
    _found("engine, batch 8", "part", "exact", 400),
]
RECORDED = {
    "made_by": "python -m edgeclf_benchmarks.records.peers",
    "created_utc": "2026-01-02T03:04:05Z",
    "machine": {"cpu": "A CPU"},
    "figures": {
        "rounds": 4,
        "images": 128,
        "threads": 2,
        "not_installed": {"optimum_onnx": "pip failed"},
        "rows": [
            {
                "size": "small",
                "backbone": "mobilenetv3_large_100",
                "target": "openvino",
                "precision": "int8",
                "contenders": CONTENDERS,
            }
        ],
        "cold_starts": {
            "edgeclf, onnx": {"seconds": {"median": 0.5}, "cpu_s": {"median": 0.4}},
            "Ultralytics, openvino": {"failed": "no such package"},
        },
    },
}


def test_two_parts_that_take_the_same_time_leave_half_of_their_rate_to_the_whole() -> None:
    assert bound(400, 400) == pytest.approx(200)
    assert bound(1200, 400) == pytest.approx(300)


def test_edgeclf_is_compared_with_the_best_of_others_with_such_pixels_and_with_the_best_of_both_parts() -> None:
    exact, fast = summary(CONTENDERS, "exact"), summary(CONTENDERS, "fast")
    assert exact is not None and fast is not None
    assert (exact["edgeclf"], exact["by"], exact["bound"]) == (180, "edgeclf, exact, auto", 200)
    assert exact["share_of_bound"] == 0.9 and exact["first"]
    assert exact["best_other"]["name"] == "by hand, exact, batches of 8"  # model_api is faster, with other pixels
    assert fast["bound"] == 300 and not fast["first"] and fast["best_other"]["images_per_s"] == 310
    assert summary(CONTENDERS[:3], "exact") is None  # without the parts alone there is no bound


def test_a_profile_tells_the_work_that_no_part_alone_has_and_how_many_cores_were_busy() -> None:
    cpu_ms = {"edgeclf, exact, auto": 10.0, "pixels by hand, exact": 4.5, "engine, batch 8": 5.0}
    timed = [
        {**each, "cpu_ms_an_image": {"median": cpu_ms[each["name"]]}} if each["name"] in cpu_ms else each
        for each in CONTENDERS
    ]
    told, untold = summary(timed, "exact"), summary(CONTENDERS, "exact")
    assert told is not None and untold is not None and untold["profile"] is None
    wanted = {"whole_cpu_ms": 10.0, "pixels_cpu_ms": 4.5, "engine_cpu_ms": 5.0, "added_cpu_ms": 0.5, "cores_busy": 1.8}
    assert told["profile"] == wanted


def test_the_table_has_a_line_for_each_kind_of_pixels_with_the_fastest_marked() -> None:
    found = tables(RECORDED).replace("\\", "")
    exact, fast = (line for line in found.splitlines() if line.startswith("| MobileNetV3-large, OpenVINO INT8, small"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")[1:]] for line in (exact, fast)]
    assert cells[0] == ["150", "180, first", "170", "", "", "", "120", "", "400", "400", "200", "0.90"]
    assert cells[1] == ["", "300", "310, first", "", "200", "", "", "", "1,200", "400", "300", "1.00"]
    assert "| edgeclf, onnx | 0.50 | 0.40 |" in found and "Ultralytics, openvino" not in found
    assert "optimum_onnx is not measured: pip failed." in found and "2 threads, A CPU, 2026-01-02" in found


def test_the_page_agrees_with_the_record_of_peers() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert between(page, BEGIN, END, tables(json.loads(RECORD.read_bytes()))) == page


@pytest.mark.parametrize("line", ["", "Loading…", "[1]", '{"images": 8}', '{"images": 8, "seconds": 0}'])
def test_a_line_that_is_no_turn_is_refused_with_what_it_was(line: str) -> None:
    with pytest.raises(WorkerFailed, match="no turn"):
        turn_of(line)
    with pytest.raises(WorkerFailed, match="first line"):
        opened_line(line)


def test_a_turn_takes_about_the_seconds_that_were_asked_for() -> None:
    assert images_and_passes(1000, 128, 0.4) == (128, 3)
    assert images_and_passes(200, 128, 0.4) == (64, 1)
    assert images_and_passes(20, 128, 0.4) == (32, 1)
    assert images_and_passes(20, 8, 0.4) == (8, 1)


def test_each_worker_exists_and_each_environment_is_known() -> None:
    for each in (each for row in ROWS for each in contenders(row)):
        assert (WORKERS / f"{each.script}.py").is_file()
        assert each.environment in {"edgeclf", *REQUIREMENTS}


def test_workers_take_turns_and_one_that_breaks_is_named_with_its_last_words(tmp_path: Path) -> None:
    (script := tmp_path / "toy.py").write_text(TOY)
    (images := tmp_path / "images").mkdir()
    for name in ("1", "22"):
        (images / name).touch()

    def entrant(name: str, *, broken: bool) -> Entrant:
        contender = Contender(name, "peer", "by_hand", str(script.with_suffix("")), "own")
        settings = {"broken": broken, "images": str(images), "seconds": 0.001, "packages": []}
        return Entrant(contender, Path(sys.executable), settings)

    sound, broken = measure([entrant("sound", broken=False), entrant("broken", broken=True)], 2, "sound")
    assert sound["images_per_s"]["runs"] == 2 and sound["images_per_s"]["min"] > 0
    assert (sound["agreement"], sound["classes_predicted"], sound["facts"]) == (1.0, 2, {"batch": 1})
    assert broken["failed"] == "ValueError: no such model"


def test_a_cold_start_that_fails_is_named_with_its_last_line() -> None:
    codes = {"a": "1", "b": "raise OSError(1)"}
    commands = {name: ((sys.executable, "-S", "-c", code), dict[str, str]()) for name, code in codes.items()}
    found = measure_cold_starts(commands, 1)
    assert found["a"]["seconds"]["runs"] == 1 and found["b"] == {"failed": "OSError: 1"}
