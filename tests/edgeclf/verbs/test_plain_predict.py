"""Plain command lines of predict are read without Typer, and mean what Typer makes of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import tiny
import typer

from edgeclf import commands
from edgeclf.verbs import predict as verb
from edgeclf.verbs.shared.predicting.plain import read_plain
from edgeclf.verbs.shared.predicting.run import PredictRequest


@pytest.mark.parametrize(
    "words",
    [
        "b a.png",
        "b a.png folder --top 3 --threads 2 --streams 1",
        "--json b a.png -b auto --csv rows.csv --force -v",
        "b a.png --device cpu --batch-size 4 --verbose",
    ],
)
def test_a_plain_command_line_means_what_typer_makes_of_it(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PredictRequest] = []
    monkeypatch.setattr(verb, "run_predict", asked.append)
    line = ["predict", *words.split()]
    assert commands.run_commands(line) == 0
    assert asked == [read_plain(line)]


@pytest.mark.parametrize(
    "words",
    [
        *("b", "b a.png --help", "b a.png --top=3", "b a.png --top 0", "b a.png --top x", "b a.png --top", "b - a.png"),
        *("b a.png -b 2 -b 4", "b a.png --csv -", "b a.png --watch", "b a.png --unproven", "b a.png -- c.png"),
    ],
)
def test_whatever_is_not_plain_is_left_to_typer(words: str) -> None:
    assert read_plain(["predict", *words.split()]) is None


def test_the_defaults_of_the_verb_are_those_of_its_request() -> None:
    whole: Any = typer.main.get_command(commands.build_app("predict"))
    shown = {each.name: each.default for each in whole.commands["predict"].params if not each.required}
    wanted = {each.name: each.default for each in fields(PredictRequest) if each.default is not MISSING}
    assert shown == wanted


def test_a_plain_prediction_loads_neither_typer_nor_rich_nor_other_engines(tmp_path: Path) -> None:
    bundle, image = tiny.build(tmp_path / "b").path, tmp_path / "a.png"
    tiny.images()[0].save(image)
    script = (
        "import sys; from edgeclf import cli\n"
        f"code = cli.run(['predict', {str(bundle)!r}, {str(image)!r}])\n"
        "slow = ('typer', 'click', 'pydantic', 'rich', 'email', 'tarfile', 'edgeclf_runtime.backends.tensorrt')\n"
        "print(code, [name for name in slow if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "0 []"
