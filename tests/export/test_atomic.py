"""A bundle appears whole or not at all, whatever happens on the way."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions, plan_outputs
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import DataError, UsageError

# exports a linear classifier in ONNX, and stops for good where `stage` is called for the `nth` time
KILLED = """
import time
import numpy as np
from pathlib import Path
from onnx import TensorProto, helper, numpy_helper
import edgeclf_export.proof.bundling, edgeclf_export.exporter
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.onnx_file.exportable import load_onnx_classifier
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.images.pixels import Pixels

def main(folder, module, stage, nth):
    owner, calls, folder = sys.modules[module], [], Path(folder)
    whole = getattr(owner, stage)

    def stop(*arguments, **options):
        calls.append(stage)
        if len(calls) == nth:
            print(os.getpid(), flush=True)
            time.sleep(60)
        return whole(*arguments, **options)

    setattr(owner, stage, stop)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.random.default_rng(0).normal(size=(192, 3)).astype(np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (folder / "linear.onnx").write_bytes(model.SerializeToString())
    exportable = load_onnx_classifier(
        folder / "linear.onnx",
        labels=("a", "b", "c"),
        pixels=Pixels("exact", (8, 8), (8, 8)),
        normalization=Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    )
    print(export(exportable, ExportOptions(output=folder / "bundles"))[0].proof.verdict, flush=True)
"""
# forks such an export for each line
SERVER = f"""
import os, sys
{KILLED}
for line in sys.stdin:
    if os.fork() == 0:
        folder, module, stage, nth = line.split()
        main(folder, module, stage, int(nth))
        os._exit(0)
    os.wait()
    print("ended", flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported the exporter; each export is forked from it."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.mark.parametrize(
    ("module", "stage", "nth"),
    [
        pytest.param(
            "edgeclf_export.proof.bundling", "write_golden", 1, marks=pytest.mark.check
        ),  # the engine's files are there
        pytest.param("edgeclf_export.proof.bundling", "prove", 1, marks=pytest.mark.check),  # and the first manifest
        ("edgeclf_runtime.bundle.atomic_write", "_publish", 1),  # all but the rename
    ],
)
def test_kill_9_leaves_nothing_at_the_final_path_and_the_next_export_works(
    module: str,
    stage: str,
    nth: int,
    server: subprocess.Popen[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(f"{tmp_path} {module} {stage} {nth}\n")
    server.stdin.flush()
    os.kill(int(server.stdout.readline()), signal.SIGKILL)
    assert server.stdout.readline() == "ended\n"
    assert not (tmp_path / "bundles" / "linear-onnx-fp32").exists()
    assert not [
        path for path in (tmp_path / "bundles").iterdir() if not path.name.startswith(".linear-onnx-fp32.partial-")
    ]
    monkeypatch.setattr(f"{module}.{stage}", getattr(importlib.import_module(module), stage))  # puts it back at the end
    names: dict[str, Any] = {"os": os, "sys": sys}
    exec(KILLED, names)
    names["main"](tmp_path, module, stage, 0)
    assert capsys.readouterr().out == "pass\n"
    assert Bundle.open(tmp_path / "bundles" / "linear-onnx-fp32").manifest.proof is not None


@pytest.fixture
def exportable(load: Callable[[str], Exportable]) -> Exportable:
    return load("test_resnet")


def refuse(*arguments: object) -> object:
    raise AssertionError("heavy work before the check")


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_an_output_that_exists_is_refused_before_any_work(kind: str, exportable: Exportable, tmp_path: Path) -> None:
    place = tmp_path / "test_resnet-openvino-fp32"
    {"folder": place.mkdir, "file": place.touch, "dangling link": lambda: place.symlink_to("nowhere")}[kind]()
    untouched = replace(exportable, run_reference=refuse, make_onnx=refuse)
    options = ExportOptions(("onnx", "openvino"), output=tmp_path)
    with pytest.raises(
        UsageError, match="test_resnet-openvino-fp32 exists; give --force to replace it, or another --output"
    ):
        list(export(untouched, options))
    with pytest.raises(UsageError, match="exists; give --force"):
        plan_outputs("timm/test_resnet", options)  # what a caller may ask before it loads any weights
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_force_replaces_it(exportable: Exportable, tmp_path: Path) -> None:
    options = ExportOptions(("pytorch",), output=tmp_path, force=True, name="mine")
    (tmp_path / "mine-pytorch-fp32").mkdir()
    (tmp_path / "mine-pytorch-fp32" / "old").touch()
    (exported,) = export(exportable, options)
    assert Bundle.open(exported.path).manifest.proof is not None and not (exported.path / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mine-pytorch-fp32"]


def test_a_folder_that_cannot_be_written_is_one_data_error(exportable: Exportable, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "bundles", Path("/proc/edgeclf")):
        with pytest.raises(DataError, match="test_resnet-pytorch-fp32 can't be written: "):
            list(export(exportable, ExportOptions(("pytorch",), output=output)))


@pytest.mark.parametrize("target", ["onnx", "openvino", "pytorch"])
def test_a_full_disk_leaves_nothing_and_is_reported(target: str, exportable: Exportable, tmp_path: Path) -> None:
    import resource

    exportable.make_onnx("uint8-nhwc", 18)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))  # a larger file fails as on a full disk
    try:
        with pytest.raises(DataError, match="can't be written: ") as failure:
            list(export(exportable, ExportOptions((target,), output=tmp_path)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert f"test_resnet-{target}-fp32" in str(failure.value) and "\n" not in str(failure.value)
    assert os.listdir(tmp_path) == []
