"""`edgeclf export` for TensorRT and Triton as it is typed: what it says at its end, what it refuses in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign import NORMALIZATION, write_network

from edgeclf import cli
from edgeclf_export.exportable import Exportable
from edgeclf_export.targets.tensorrt import engine_here
from edgeclf_export.targets.tensorrt import target as trt
from edgeclf_runtime.backends.tensorrt.library import import_rtx
from edgeclf_runtime.errors import BackendError

MODEL = ["export", "-m", "test_resnet", "--weights", "random", "--img-size", "64"]
NETWORK = ["export", "net.onnx", "--labels", "names.txt", "--img-size", "32", *NORMALIZATION]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test stands in a folder with a classifier as an ONNX file, on a machine without a GPU."""

    def no_cuda() -> None:
        raise BackendError("the CUDA runtime is not found")

    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    monkeypatch.setattr(engine_here, "open_cuda", no_cuda)
    monkeypatch.setattr(engine_here, "gpus", lambda: ())
    monkeypatch.setattr(engine_here, "jetson", lambda: None)
    return tmp_path


@pytest.fixture
def without_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trt, "import_rtx", lambda: None)


@pytest.fixture(scope="module")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_network(folder)
        assert cli.run(NETWORK) == 0
    return folder / "bundles/net-onnx-fp32"


def test_the_last_lines_say_portable_what_was_checked_and_what_to_type(capsys: Captured) -> None:
    assert cli.run([*NETWORK, "-t", "tensorrt", "--precision", "fp16"]) == 0
    printed = capsys.readouterr()
    place = "bundles/net-tensorrt-fp16"
    assert place in printed.out and "on the device" in printed.out
    lines = [line.strip() for line in printed.err.splitlines()]
    assert f"{place} is portable: a graph prepared for TensorRT, not yet an engine" in lines
    assert "linted for TensorRT: nothing found" in lines
    parsed = "parsed and built by TensorRT-RTX" if import_rtx() else "not parsed by TensorRT"
    assert [line for line in lines if line.startswith(parsed)]
    assert "the engine's own proof comes with `edgeclf build` on the device" in printed.err
    assert "no engine was built here: there is no NVIDIA GPU here" in lines
    assert lines[-3:] == [
        f"next: edgeclf pack {place}",
        f"scp {place}.tar DEVICE:",
        "edgeclf build net-tensorrt-fp16.tar    (on the device)",
    ]


def test_pack_and_inspect_of_a_portable_bundle_propose_build_and_say_what_is_proven(
    capsys: Captured, without_rtx: None
) -> None:
    assert cli.run([*NETWORK, "-t", "onnx", "-t", "tensorrt"]) == 0
    printed = capsys.readouterr().err
    assert "edgeclf predict bundles/net-onnx-fp32 IMAGE" in printed
    assert "edgeclf build net-tensorrt-fp32.tar    (on the device)" in printed
    assert cli.run(["pack", "bundles/net-tensorrt-fp32"]) == 0
    printed = capsys.readouterr().err
    assert "edgeclf build net-tensorrt-fp32.tar    (there)" in printed and "verify" not in printed
    assert cli.run(["inspect", "bundles/net-tensorrt-fp32"]) == 0
    found = capsys.readouterr()
    assert "linted for TensorRT: nothing found" in found.out and "proven: the graph" in " ".join(found.out.split())
    assert "next: edgeclf build bundles/net-tensorrt-fp32" in found.err


def test_without_a_name_the_newest_run_is_prepared(
    capsys: Captured, without_rtx: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.training.run.run import Run
    from edgeclf_export.sources.onnx_file.exportable import load_onnx_classifier
    from edgeclf_runtime.bundle.manifest import Normalization
    from edgeclf_runtime.images.pixels import Pixels

    @dataclass
    class Newest:
        path: Path = Path("runs/pears")

        def exportable(self) -> Exportable:
            normalization = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
            pixels = Pixels("shorter", (36, 36), (32, 32))
            labels = ("leaf", "pagoda", "sky")
            return load_onnx_classifier(Path("net.onnx"), labels=labels, pixels=pixels, normalization=normalization)

    monkeypatch.setattr(Run, "newest", Newest)
    assert cli.run(["export", "--target", "tensorrt"]) == 0
    assert "exporting runs/pears, the newest run" in capsys.readouterr().err


def test_standard_output_is_the_document_alone(capfd: Captured) -> None:
    assert cli.run([*NETWORK, "-t", "tensorrt", "-t", "onnx", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    portable, built = document["bundles"]
    assert (portable["target"], portable["state"]) == ("tensorrt", "portable")
    assert portable["checks"][0] == "linted for TensorRT: nothing found"
    assert (built["target"], built["state"], built["checks"]) == ("onnx", "built", [])


def test_an_onnx_bundle_folder_or_tar_is_a_source(
    capsys: Captured, without_rtx: None, onnx_bundle: Path, folder: Path
) -> None:
    assert cli.run(["export", str(onnx_bundle), "-t", "tensorrt", "--precision", "fp16", "--max-batch", "4"]) == 0
    assert json.loads((folder / "bundles/net-tensorrt-fp16/build.json").read_text())["max_batch"] == 4
    assert cli.run(["pack", str(onnx_bundle), "-o", "there.tar"]) == 0
    assert cli.run(["export", "there.tar", "-t", "tensorrt"]) == 0
    assert (folder / "bundles/there-tensorrt-fp32/model.onnx").is_file()


def test_a_triton_repository_comes_beside_the_bundles(capsys: Captured, folder: Path) -> None:
    assert cli.run([*NETWORK, "-t", "onnx", "-t", "openvino", "--layout", "triton", "--max-batch", "8"]) == 0
    repository = folder / "bundles/triton"
    assert sorted(path.name for path in repository.iterdir()) == ["net-onnx-fp32", "net-openvino-fp32"]
    assert "max_batch_size: 8" in (repository / "net-onnx-fp32/config.pbtxt").read_text()
    assert f"tritonserver --model-repository={repository}" in capsys.readouterr().err


def test_a_bundle_that_is_there_is_laid_out_without_an_export(
    capsys: Captured, onnx_bundle: Path, folder: Path
) -> None:
    assert cli.run(["export", str(onnx_bundle), "--layout", "triton", "-o", "served", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["triton"] == ["served/triton/net-onnx-fp32"]
    assert not (folder / "bundles").exists()


Refused = Callable[..., None]


@pytest.fixture
def refused(capsys: Captured, folder: Path) -> Refused:
    def refused(options: list[str], message: str, code: int = 2) -> None:
        capsys.readouterr()
        assert cli.run(options) == code
        error = capsys.readouterr().err
        assert message in error and error.strip().count("\n") == 0
        assert not list(folder.glob("bundles/*"))

    return refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-t", "tensorrt", "--precision", "int4"], "--precision takes no 'int4'; choose one of fp32, fp16, bf16"),
        (["-t", "tensorrt", "--max-batch", "2", "--opt-batch", "4"], "1 to the largest batch"),
        (["-t", "onnx", "--opt-batch", "2"], "--opt-batch is for --target tensorrt"),
        (["-t", "onnx", "--workspace", "64"], "--workspace is for --target tensorrt"),
        (["-t", "onnx", "--no-tf32"], "--tf32 is for --target tensorrt"),
        (["-t", "onnx", "--max-batch", "2"], "--max-batch is for --target tensorrt and --layout triton or deepstream"),
        (
            ["-t", "onnx", "--layout", "savant"],
            "choose one of bundle, triton, android, ovms, deepstream",
        ),
        (["-t", "pytorch", "--layout", "triton"], "for onnx, openvino, tensorrt, not for pytorch"),
        (["-t", "onnx", "-t", "tensorrt", "--layout", "triton"], "a portable bundle has none"),
    ],
)
def test_invalid_options_for_a_model_are_refused(options: list[str], message: str, refused: Refused) -> None:
    refused([*MODEL, *options], message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "is a bundle already; give --target for another one, or --layout triton, android, ovms or deepstream"),
        (["-t", "tensorrt", "--labels", "l.txt"], "--labels is not for a bundle, which brings its own"),
        (["-t", "tensorrt", "--img-size", "64"], "--img-size is not for a bundle"),
        (["-t", "tensorrt", "--window", "0,9"], "--window is not for a bundle"),
        (["-t", "tensorrt", "--mean", "0,0,0"], "--mean is for FILE.onnx"),
        (["-t", "tensorrt", "--weights", "hub"], "--weights is for --model"),
        (["-t", "tensorrt", "--proof-data", "photos"], "leave --proof-data out"),
        (["-t", "tensorrt", "--input", "float-nchw"], "takes uint8-nhwc"),
    ],
)
def test_invalid_options_for_a_bundle_are_refused(
    options: list[str], message: str, refused: Refused, onnx_bundle: Path
) -> None:
    refused(["export", str(onnx_bundle), *options], message)
