"""Options that were renamed: the old name is taken with a notice, on the command line and in a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from edgeclf.cli import run
from edgeclf.commands import build_app
from edgeclf.verbs.shared.config_file import read_options
from edgeclf.verbs.shared.renamed import RENAMED, with_new_names

PAIRS = [(verb, old, new) for verb, names in RENAMED.items() for old, new in names.items()]


@pytest.fixture(scope="module")
def app() -> Any:
    return typer.main.get_command(build_app())


def options_of(app: Any, verb: str) -> set[str]:
    return {option for parameter in app.commands[verb].params for option in parameter.opts}


@pytest.mark.parametrize(("verb", "old", "new"), PAIRS)
def test_an_old_name_is_the_new_one_and_no_help_lists_it(
    verb: str, old: str, new: str, app: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"--{new}" in options_of(app, verb) and f"--{old}" not in options_of(app, verb)
    assert with_new_names(verb, [f"--{old}", "1", f"--{old}=2", "--", f"--{old}"]) == [
        *(f"--{new}", "1", f"--{new}=2", "--", f"--{old}")
    ]
    assert capsys.readouterr().err.count(f"--{old} is now called --{new}") == 2
    file = tmp_path / "edge.toml"
    file.write_text(f"[{verb}]\n{old} = 1")
    assert read_options(file, verb, {new.replace("-", "_"): "parameter"}) == {"parameter": 1}
    assert f"{old} is now called {new}" in capsys.readouterr().err


def test_a_command_line_with_an_old_name_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--resume", "runs/none", "--drop", "0.5"]) == 2
    notice, error = capsys.readouterr().err.splitlines()
    assert notice.startswith("note: --drop is now called --dropout")
    assert "leave out --dropout" in error
