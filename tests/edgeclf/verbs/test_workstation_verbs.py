"""Verbs of the workstation: what they refuse before any work, and that the README types only what exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from edgeclf import cli, commands
from edgeclf_runtime.installing import pip_install

EXPORT = ["export", "-m", "resnet18", "--weights", "random"]


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (EXPORT, "export"),
        (["export", "mine.onnx", "--labels", "l.txt", "--img-size", "8"], "export"),
        (["train", "photos", "-m", "resnet18"], "train"),
        (["lr-find", "photos", "-m", "resnet18"], "train"),
        (["adapt", "photos", "-m", "resnet18"], "train"),
        (["data", "preview", "photos"], "train"),
        (["demo"], "all"),
    ],
)
def test_without_its_packages_a_verb_names_the_line_that_installs_them(
    command: list[str],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    found = importlib.util.find_spec
    missing = {"torch", "onnx"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in missing else found(name, *rest)
    )
    monkeypatch.chdir(tmp_path)
    assert cli.run(command) == 4
    assert pip_install(extra) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--window", "5,1"], "--window"),
        (["--window", "nan,1"], "--window"),
        (["--window", "0,9", "--bit-depth", "12"], "not both"),
        (["--seed", "99999999999999999999999"], "--seed"),
        (["--mean", "0.1,0.1,0.1"], "--mean"),
        (["--crop-mode", "squash"], "--crop-mode"),
        (["mine.onnx"], "not both"),
        (["-t", "tpu"], "--target takes no 'tpu'"),
        (["--precision", "fp4"], "--precision takes no 'fp4'"),
        (["--opset", "9"], "opset"),
    ],
)
def test_export_refuses_invalid_options(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run([*EXPORT, *options]) == 2
    error = capsys.readouterr().err
    assert named in error and error.strip().count("\n") == 0


def test_a_foreign_file_takes_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", "mine.onnx", "--weights", "hub"]) == 2
    assert "--weights" in capsys.readouterr().err


def test_export_without_anything_names_a_run_or_a_model_as_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["export"]) == 2
    assert "no finished run under runs" in capsys.readouterr().err


def pages(root: Path) -> str:
    """The README, the guide and what a board needs."""
    return "\n".join((root / name).read_text() for name in ("README.md", "docs/guide.md", "docs/jetson.md"))


def shown_commands(root: Path) -> list[list[str]]:
    """Every `edgeclf …` that these pages show, in their blocks and tables."""
    text = re.sub(r"\\\n\s+", "", pages(root))
    lines = re.findall(r"^\$ (edgeclf .*?)(?:\s+#.*)?$", text, re.MULTILINE) + re.findall(
        r"`(edgeclf [a-z][^`]*)`", text
    )
    return [shlex.split(line.removesuffix("&"))[1:] for line in lines]


def test_readme_and_guide_type_only_verbs_and_options_that_exist(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = re.search(r"\$ cat (\S+\.toml)\n(.*?)\n\$ ", pages(root), re.DOTALL)
    assert shown is not None
    (tmp_path / shown[1]).write_text(shown[2])
    monkeypatch.chdir(tmp_path)
    top: Any = typer.main.get_command(commands.build_app())
    shown_lines = shown_commands(root)
    assert len(shown_lines) > 15
    for words in shown_lines:
        command, rest = top.commands[words[0]], words[1:]
        while hasattr(command, "commands") and rest:
            command, rest = command.commands[rest[0]], rest[1:]
        if rest:
            with command.make_context("edgeclf", list(rest), resilient_parsing=False):
                pass


def test_the_readmes_python_example_names_what_exists(root: Path) -> None:
    text = (root / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(example, "README.md", "exec")
    from edgeclf_runtime.classifier import Classifier, Prediction

    assert hasattr(Classifier, "open") and hasattr(Classifier, "predict")
    used = set(re.findall(r"prediction\.(\w+)", example))
    assert used <= set(Prediction.__slots__)
