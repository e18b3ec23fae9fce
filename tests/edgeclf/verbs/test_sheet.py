"""Tables keep names and figures whole on terminals of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeclf.sheet import Sheet

NAMES = ("flowers-mobilenetv3_large_100-onnx-fp32", "flowers-mobilenetv3_large_100-onnx-int8", "plain loop")
FIGURES = ("1.61 ms [1.13, 5.44]", "0.759 [0.631, 0.854]", "13.5 MB", "7.08 x faster [4.1, 9.2]")
HEADINGS = ("infer p50 [95 %]", "top-1 [95 %]", "size", "against the reference")


def shown(sheet: Sheet, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False).print(sheet)
    return file.getvalue()


def rows(*cells: str, headings: tuple[str, ...] = ()) -> Sheet:
    sheet = Sheet(headings)
    for name in NAMES:
        sheet.add_row(name, *cells)
    return sheet


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_names_and_figures_are_whole_at_every_width(width: int) -> None:
    text = shown(rows(*FIGURES, headings=("bundle", *HEADINGS)), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(name in text for name in NAMES) and all(text.count(figure) == 3 for figure in FIGURES)
    assert "…" not in text and text.count("infer p50 [95 %]") == (1 if width >= 120 else 3)


def test_a_name_that_is_wider_than_the_terminal_is_folded_and_not_cut() -> None:
    text = shown(rows(*FIGURES, headings=("bundle", *HEADINGS)), 24)
    assert all(name in text.replace("\n", "") for name in NAMES)


def test_prose_goes_below_its_row_where_the_figures_fit() -> None:
    prose = "the smallest of its family: microcontrollers with Linux, many streams"
    lines = shown(rows("1.6 M", prose, headings=("backbone", "parameters", "")), 60).splitlines()
    assert lines[1].split() == [NAMES[0], "1.6", "M"] and lines[2].startswith("  the smallest of its family")
    assert all(line.strip() in prose for line in lines[2:4])


def test_a_last_column_of_prose_is_folded_where_there_is_room_for_it() -> None:
    sheet = Sheet()
    sheet.add_row("plain loop", "no bundle, so nothing to deploy; it is there to be compared with")
    lines = shown(sheet, 60).splitlines()
    assert len(lines) == 2 and lines[1].startswith(" " * 12)
