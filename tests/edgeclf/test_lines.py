"""Lines of text look as rich prints them."""

from __future__ import annotations

import io
from importlib.metadata import version

import pytest
from rich.console import Console
from rich.text import Text

from edgeclf.lines import Line, terminal_width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


SINCE_14 = pytest.mark.skipif(int(version("rich").split(".")[0]) < 14, reason="rich 13 reads these in another way")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NO_COLOR": "1"},
        {"TERM": "dumb"},
        pytest.param({"FORCE_COLOR": ""}, marks=SINCE_14),
        pytest.param({"TTY_COMPATIBLE": "0"}, marks=SINCE_14),
        {"COLUMNS": "50"},
    ],
)
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_line_looks_as_rich_prints_it(
    environment: dict[str, str], stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    pieces = [("猫 [x]", "bold"), ("  5%", ""), ("  ███", "green"), (" why", "dim yellow"), ("  ", "red")]
    line, text = Line(), Text()
    for piece, style in pieces:
        line.append(piece, style)
        text.append(piece, style)
    text.rstrip()
    ours, richs = stream(), stream()
    line.print(ours)
    console = Console(file=richs, markup=False, highlight=False, emoji=False)
    console.print(text, soft_wrap=True)
    assert ours.getvalue() == richs.getvalue()
    assert terminal_width() == Console(file=stream()).width
