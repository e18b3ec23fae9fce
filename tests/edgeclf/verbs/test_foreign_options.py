"""`edgeclf export FILE`: how pixels become the floats that a foreign file wants, and files of other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf import cli
from edgeclf.verbs.shared.exporting.normalization import foreign_normalization
from edgeclf.verbs.shared.exporting.sources import Preprocessing
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.session import open_session

CAFFE_MEAN = "103.939,116.779,123.68"


def write_channel_means(path: Path) -> None:
    """A classifier whose three logits are the means of its three input channels."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])
    value = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    model = helper.make_model(helper.make_graph(nodes, "means", [entry], [value]), ir_version=8)
    model.opset_import[0].version = 17
    onnx.save(model, path)


def write_quantized(path: Path, *, ranges_in_file: bool = True) -> None:
    """The same with an int8 round trip of its pixels; otherwise their range is measured for each image."""
    import onnx
    from onnx import helper, numpy_helper

    write_channel_means(path)
    model = onnx.load(path)
    nodes = list(model.graph.node)
    if ranges_in_file:
        first = helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["rounded"])
        values = {"scale": np.float32(1 / 255), "zero": np.uint8(0)}
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(each), n) for n, each in values.items())
    else:
        first = helper.make_node("DynamicQuantizeLinear", ["input"], ["rounded", "scale", "zero"])
    nodes[0].input[0] = "seen"
    del model.graph.node[:]
    model.graph.node.extend(
        [first, helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["seen"]), *nodes]
    )
    onnx.save(model, path)


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_channel_means(tmp_path / "means.onnx")
    (tmp_path / "names.txt").write_text("first\nsecond\nthird\n")
    return tmp_path


def logits_of(options: list[str], colour: tuple[int, int, int]) -> list[float]:
    """The logits of the exported bundle for pixels of one colour."""
    command = ["export", "means.onnx", "--labels", "names.txt", "--img-size", "32", "--force", *options]
    assert cli.run(command) == 0
    with open_session(Path("bundles/means-onnx-fp32")) as session:
        pixels = np.broadcast_to(np.array(colour, np.uint8), (1, 32, 32, 3))
        return [float(value) for value in session(np.ascontiguousarray(pixels))[0]]


def slow(*case: Any) -> Any:
    """A case that runs the same lines as another one."""
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        slow(["--mean", "0,0,0", "--std", "1,1,1"], (10 / 255, 200 / 255, 30 / 255)),
        (
            ["--mean", "0.1,0.2,0.3", "--std", "0.5,0.25,1"],
            ((10 / 255 - 0.1) * 2, (200 / 255 - 0.2) * 4, 30 / 255 - 0.3),
        ),
        slow(["--scale", "1", "--mean", "0,0,0", "--std", "1,1,1"], (10, 200, 30)),
        slow(["--scale", "1", "--mean", "5,50,10", "--std", "1,2,4"], (5, 75, 5)),
        (["--scale", "1", "--mean", "5,50,10", "--std", "1,2,4", "--channels", "bgr"], (5, 75, 5)),
        slow(
            ["--scale", "0.00784313725", "--mean", "1,1,1", "--std", "1,1,1"],
            (10 / 127.5 - 1, 200 / 127.5 - 1, 30 / 127.5 - 1),
        ),
        slow(["--scale", "1", "--mean", "0,0,0", "--std", "1,1,1", "--channels", "bgr"], (30, 200, 10)),
        slow(["--mean", "0,0,0", "--std", "1,1,1", "--channels", "rgb"], (10 / 255, 200 / 255, 30 / 255)),
    ],
    ids=str,
)
def test_pixels_become_what_the_options_say(options: list[str], wanted: tuple[float, ...], here: Path) -> None:
    assert logits_of(options, (10, 200, 30)) == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "std", "advice"),
    [
        ("127.5,127.5,127.5", "127.5,127.5,127.5", "give --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5, or --scale 1"),
        ("123.675,116.28,103.53", "58.395,57.12,57.375", "give --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, or"),
        ("123.675,116.28,103.53", "0.229,0.224,0.225", "give --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        (CAFFE_MEAN, "1,1,1", "--mean 0.407604,0.457957,0.48502 --std 0.00392157,0.00392157,0.00392157, or --scale 1"),
        ("0,0,0", "255,255,255", "give --mean 0,0,0 --std 1,1,1, or --scale 1"),
        ("0.5,0.5,0.5", "127.5,127.5,127.5", "give --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"),
        ("-127.5,0,0", "1,1,1", "are of pixels 0 to 255"),
        ("0.485,0.456,0.406", "58.395,57.12,57.375", "--std 0.229,0.224,0.225\n"),
    ],
)
def test_a_mean_of_levels_is_refused_with_its_value_of_0_to_1(
    mean: str, std: str, advice: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "means.onnx", "--labels", "names.txt", "--img-size", "32", f"--mean={mean}", "--std", std]
    assert cli.run(command) == 2
    error = capsys.readouterr().err
    assert advice in error and error.count("\n") == 1
    assert not (here / "bundles").exists()


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (["--labels", "names.txt", "--mean", "0,0,0", "--std", "1,1,1"], "give --img-size PX\n"),
        (["--labels", "names.txt", "--img-size", "32", "--mean", "0,0,0"], "give --std R,G,B (ImageNet's"),
        (["--img-size", "32"], "give --labels FILE, --mean R,G,B and --std R,G,B (ImageNet's"),
    ],
)
def test_only_what_a_file_does_not_state_has_to_be_given(
    options: list[str], missing: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["export", "means.onnx", *options]) == 2
    assert missing in capsys.readouterr().err


def test_what_is_not_typed_stays_as_the_backbone_has_it() -> None:
    assert Preprocessing(None, None, None, None, None).settings() == {}


def test_the_advice_is_the_same_normalisation() -> None:
    undivided = foreign_normalization("123.675,116.28,103.53", "58.395,57.12,57.375", 1.0)
    advised = foreign_normalization("0.485,0.456,0.406", "0.229,0.224,0.225", None)
    assert undivided is not None and advised is not None
    assert undivided.mean == pytest.approx(advised.mean) and undivided.std == pytest.approx(advised.std)
    assert advised == Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "300,0,0", "--std", "1,1,1", "--scale", "1"], "beyond the pixels that --scale 1 gives (0 to 255)"),
        (["--mean", "0,0,0", "--std", "1,1,1", "--scale", "0"], "--scale wants a factor above 0"),
        (["--mean", "0,0,0", "--std", "1,1,1", "--scale", "nan"], "--scale wants a factor above 0"),
        (["--scale", "0.5"], "--mean R,G,B"),
        (
            ["--mean", "0,0,0", "--std", "1,1,1", "--channels", "gbr"],
            "--channels takes no 'gbr'; choose one of rgb, bgr",
        ),
        (["--mean", "0,0,0"], "give --std R,G,B (ImageNet's are"),
        (
            ["--mean", "0,0,0", "--std", "1,1,1", "--output-name", "x"],
            "has no output 'x'; --output-name takes one of log",
        ),
    ],
    ids=str,
)
def test_invalid_options_are_named(
    options: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["export", "means.onnx", "--labels", "names.txt", "--img-size", "32", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("option", ["--channels=bgr", "--scale=1", "--output-name=logits"])
def test_options_of_foreign_files_are_refused_for_backbones(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", "-m", "resnet18", option]) == 2
    assert f"{option.partition('=')[0]} is for FILE.onnx" in capsys.readouterr().err


def test_inspect_says_that_the_network_takes_bgr(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits_of(["--scale", "1", "--mean", "0,0,0", "--std", "1,1,1", "--channels", "bgr"], (1, 2, 3))
    capsys.readouterr()
    assert cli.run(["inspect", "bundles/means-onnx-fp32"]) == 0
    assert "the network takes the channels as B, G, R" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mine.tflite",
            "is a model of TensorFlow Lite; turn it into ONNX first (python -m tf2onnx.convert --tflite mine",
        ),
        ("mine.pt", "give --model NAME --weights mine.pt, or write an ONNX file where the network is"),
        ("mine.pth", "give --model NAME --weights mine.pth"),
        ("mine.safetensors", "give --model NAME --weights mine.safetensors"),
        ("mine.engine", "is an engine that TensorRT built for one GPU"),
        ("mine.PLAN", "is an engine that TensorRT built for one GPU"),
        ("mine.xml", "is a network of OpenVINO"),
        ("mine.h5", "is a model of TensorFlow or Keras"),
        ("mine.ort", "is in ONNX Runtime's own format"),
        ("mine.gif", "is a file of no known format; export takes a run, an onnx bundle or an ONNX file"),
    ],
)
def test_a_file_of_another_format_says_what_it_is_and_what_to_do(
    name: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / name).write_bytes(b"\x00")
    options: list[Any] = ["--labels", "names.txt", "--img-size", "32", "--mean", "0,0,0", "--std", "1,1,1"]
    for command in (["export", name], ["export", name, *options]):
        assert cli.run(command) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_a_saved_model_folder_says_what_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "saved_model.pb").write_bytes(b"\x00")
    assert cli.run(["export", "mine"]) == 2
    assert "is a model of TensorFlow or Keras" in capsys.readouterr().err


def test_a_file_is_looked_at_before_anything_else_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_quantized(here / "static.onnx")
    write_quantized(here / "dynamic.onnx", ranges_in_file=False)
    (here / "cut.onnx").write_bytes((here / "means.onnx").read_bytes()[:-9])
    (here / "photos").mkdir()
    stated = ["--labels", "names.txt", "--img-size", "32", "--mean", "0,0,0", "--std", "1,1,1"]
    for options in ([], stated, ["--precision", "int8"], [*stated, "--precision", "auto"]):
        for file, reason in (
            ("nowhere.onnx", "No such file"),
            ("cut.onnx", "not an ONNX file"),
            ("dynamic.onnx", "ranges that are measured for each image"),
        ):
            assert cli.run(["export", file, "-t", "onnx", *options]) == 3
            assert reason in only_line(capsys)
    for options in (["--precision", "int8", "-t", "openvino"], ["-t", "onnx"], ["--precision", "auto", "-t", "onnx"]):
        for typed in ([], stated):
            assert cli.run(["export", "static.onnx", *options, *typed]) == 2
            assert only_line(capsys).startswith("edgeclf: static.onnx is quantized already: give --precision int8")
    for options in (["--calib-data", "photos"], ["--learn-int8", "5"], ["--fallback"]):
        assert cli.run(["export", "static.onnx", "-t", "onnx", "--precision", "int8", *options, *stated]) == 2
        assert only_line(capsys).startswith("edgeclf: static.onnx is quantized already, so nothing is calibrated")


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        (["gone.tar"], 3, "gone.tar: no such bundle"),
        (["-m", "resnet81"], 2, "no model 'resnet81'"),
        (["-m", "resnet18", "--weights", "gone.pth"], 3, "gone.pth: no such file"),
        (["-m", "resnet18", "--weights", "empty"], 3, "empty: a folder without model.safetensors"),
    ],
)
def test_what_is_not_there_is_said_before_int8_asks_for_images(
    source: list[str], code: int, line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    assert cli.run(["export", *source, "-t", "onnx", "--precision", "int8"]) == code
    assert only_line(capsys).startswith(f"edgeclf: {line}")
