"""Bundles, a run and a report that an earlier edgeclf wrote are read as they were: kept/NAME.tar.gz, one a version.

The run's weights were set to 0, so that the file is small; its images are not there.
"""

from __future__ import annotations

import importlib.util
import json
import tarfile
from pathlib import Path

import pytest

from edgeclf.training.run.run import Run
from edgeclf_benchmarks.comparing.compare import entries_of, read_sources
from edgeclf_benchmarks.comparing.findings import findings
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.images.data_split import DataSplit

VERSIONS = sorted(Path(__file__).with_name("kept").glob("*.tar.gz"))
ENGINES = {"reference": "numpy", "onnx": "onnxruntime", "openvino": "openvino"}


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name.partition(".")[0])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_there_are_some() -> None:
    assert VERSIONS


@pytest.mark.parametrize("engine", ENGINES)
def test_its_bundles_open_and_pass_their_proof(kept: Path, engine: str) -> None:
    if importlib.util.find_spec(ENGINES[engine]) is None:
        pytest.skip(f"{ENGINES[engine]} is not installed")
    bundle = Bundle.open(kept / f"{engine}-bundle")
    assert bundle.manifest.labels and verify(bundle).verdict == "pass"


def test_its_run_opens_with_its_config_split_history_and_outcome(kept: Path) -> None:
    split = kept / "run" / "split.json"
    split.write_text(split.read_text().replace('"/data"', json.dumps(str(kept))))  # where its images lie now
    run = Run.open(kept / "run")
    assert run.finished and run.config().strategy == "linear-probe" and run.config().model == "test_resnet"
    data = run.data()
    assert isinstance(data, DataSplit) and data.classes == ("blue", "red") and len(data.images) == 20
    assert data.digest == run.outcome().data_sha256
    assert [line["epoch"] for line in run.history()] == [1, 2]


def test_its_report_is_read_and_compared(kept: Path) -> None:
    sources = read_sources([kept / "report.json"])
    entries = entries_of(sources)
    assert [entry.row.target for entry in entries] == ["onnx", "openvino"]
    assert findings(sources, entries, ())
