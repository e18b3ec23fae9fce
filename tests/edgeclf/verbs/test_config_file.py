"""Options from a file: the command line beats the file, the file beats the defaults, and a slip is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeclf.cli import run
from edgeclf.verbs.shared.config_file import read_options
from edgeclf_runtime.errors import UsageError

KNOWN = {"img_size": "img_size", "imgsz": "img_size", "hflip": "hflip", "no_hflip": "hflip", "target": "target"}


def write(folder: Path, text: str) -> Path:
    (folder / "edge.toml").write_text(text)
    return folder / "edge.toml"


def test_options_may_be_spelt_as_typed_or_with_underscores(tmp_path: Path) -> None:
    for spelling in ("img-size", "img_size", "imgsz"):
        assert read_options(write(tmp_path, f"[train]\n{spelling} = 96"), "train", KNOWN) == {"img_size": 96}
    file = write(tmp_path, "[export]\ntarget = ['onnx', 'openvino']\n[train]\nhflip = false")
    assert read_options(file, "export", KNOWN) == {"target": ["onnx", "openvino"]}
    assert read_options(file, "train", KNOWN) == {"hflip": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nimg-sizes = 96", "no option 'img-sizes'; did you mean img-size"),
        ("[train]\nlearning = 96", "see: edgeclf train --help"),
        ("[export]\ntarget = 'onnx'", r"wanted a table \[train\].*found \[export\]"),
        ("", "found nothing"),
        ("train = 3", r"wanted a table \[train\]"),
        ("[train]\nimg-size.a = 1", "is a table"),
        ("[train\n", "not TOML"),
        ("[train]\nlr = " + "[" * 3000, "not TOML"),
    ],
)
def test_a_slip_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read_options(write(tmp_path, text), "train", KNOWN)


def test_a_missing_file_and_a_binary_one_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wants a TOML file"):
        read_options(tmp_path / "none.toml", "train", KNOWN)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe[train]")
    with pytest.raises(UsageError, match="not TOML"):
        read_options(tmp_path / "binary.toml", "train", KNOWN)


def test_the_command_line_beats_the_file_and_the_file_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Seen through a verb that fails early: it names the folder that the file (or the command line) chose."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "test_resnet-onnx-fp32").mkdir(parents=True)
    (tmp_path / "typed" / "test_resnet-onnx-fp16").mkdir(parents=True)
    file = write(tmp_path, "[export]\nmodel = 'test_resnet'\nweights = 'random'\noutput = 'out'")
    assert run(["export", "--config", str(file)]) == 2
    assert "out/test_resnet-onnx-fp32 exists" in capfd.readouterr().err
    assert run(["export", "--precision", "fp16", "-o", "typed", "--config", str(file)]) == 2
    assert "typed/test_resnet-onnx-fp16 exists" in capfd.readouterr().err


def test_a_value_of_another_type_names_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "photos", "--config", str(write(tmp_path, "[train]\nimg-size = 'large'"))]) == 2
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1 and "'--img-size'" in printed and "valid integer" in printed
