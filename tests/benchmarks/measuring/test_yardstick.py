"""The yardstick is the same load on every engine and machine, takes its turns in the rounds, and is no row."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from brief_bench import brief as brief

from edgeclf_benchmarks.measuring import yardstick
from edgeclf_benchmarks.measuring.bench import measure
from edgeclf_benchmarks.measuring.options import BenchOptions
from edgeclf_benchmarks.measuring.report import read_report, write_report
from edgeclf_benchmarks.measuring.reporting.builder import report_of
from edgeclf_benchmarks.measuring.yardstick import NAMES, NumpyYardstick, usable_yardsticks
from edgeclf_benchmarks.measuring.yardstick_network import CHANNELS, VERSION, network_input, onnx_bytes
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.errors import BackendError

OPTIONS = BenchOptions(profile="quick", rounds=2, threads=(1,), duration_s=0.1, plain_loop=False)
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "pytorch": "torch"}


def test_the_networks_bytes_are_a_valid_onnx_model() -> None:
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(onnx.load_from_string(onnx_bytes()), full_check=True)


def test_every_engine_computes_the_same_network() -> None:
    installed = [target for target, module in ENGINES.items() if importlib.util.find_spec(module)]
    sticks, lacking = usable_yardsticks([*installed, "hog-svm"], SessionOptions(threads=1))
    assert [each.target for each in sticks] == [*installed, "numpy"] and lacking == {}
    outputs = []
    for each in sticks[:-1]:
        opened = each.open(SessionOptions(threads=1))
        outputs.append(opened.infer(opened.prepare([b"any image"])))
        opened.close()
        assert each.engine.split(" ")[0] == ENGINES[each.target]
    for output in outputs:
        assert output.shape == (1, CHANNELS)
        assert np.allclose(output, outputs[0], atol=1e-3)
        assert float(output.min()) > 0.1 and float(output.max()) < 10


def test_the_load_is_the_same_on_every_machine() -> None:
    assert VERSION == 1, "other numbers make another load: raise VERSION, then change these"
    assert float(network_input().sum(dtype=np.float64)) == pytest.approx(50175.85, abs=0.05)
    opened = NumpyYardstick().open(SessionOptions())
    output = opened.infer(opened.prepare([]))
    assert output.size == 1 << 18 and bool((np.diff(output) >= 0).all())


@pytest.mark.usefixtures("brief")
def test_a_report_has_the_yardsticks_raw_times_in_the_rounds_of_its_rows(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    bundles = [tiny.build(tmp_path / "a", "onnx"), tiny.build(tmp_path / "b", "reference")]
    report = report_of(measure(bundles, replace(OPTIONS, batch_sizes=(1, 2))), "")
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    assert [each.target for each in report.yardsticks] == ["onnx", "numpy"]
    for each in report.yardsticks:
        assert (each.latency.stage, each.latency.batch, each.version) == ("infer", 1, VERSION)
        row = report.rows[0].latency("infer", 1, 1)
        assert row is not None and len(each.latency.rounds_ms) == len(row.rounds_ms) == 2
    assert len(report.rounds_busy_cores) == 2
    assert [row.name for row in report.rows] == ["a", "b"]
    assert {each.row for each in report.comparisons} == {"b"}


@pytest.mark.usefixtures("brief")
def test_an_engine_without_a_yardstick_is_named_and_the_bench_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")

    def refuse(target: str) -> None:
        raise BackendError("no luck")

    monkeypatch.setattr(yardstick, "_bundle", refuse)
    report = report_of(measure([tiny.build(tmp_path / "a", "onnx")], OPTIONS), "")
    assert [each.target for each in report.yardsticks] == ["numpy"]
    assert any(each.about == "yardstick" and "no luck" in each.found for each in report.cautions)


@pytest.mark.usefixtures("brief")
def test_a_bundle_with_the_name_of_a_yardstick_gets_another_name(tmp_path: Path) -> None:
    report = report_of(measure([tiny.build(tmp_path / NAMES[-1])], OPTIONS), "")
    assert [row.name for row in report.rows] == [f"{NAMES[-1]} (2)"]
    assert report.rows[0].latency("infer", 1, 1) is not None
