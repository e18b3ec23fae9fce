"""Text from outside is inert wherever it is printed, and progress keeps to a terminal."""

from __future__ import annotations

import json
import os

import pytest

from edgeclf.console import Bars, bar, csv_text, document, inert, show, styled, write_json
from edgeclf.wording import count, size

HOSTILE = {
    "\x1b[31mred": "\\x1b[31mred",
    "two\nlines\r": "two\\nlines\\r",
    "bell\x07\x9bcsi": "bell\\x07\\x9bcsi",
    "turn\u202eed": "turn\\u202eed",
    "apart\u2066\u200e": "apart\\u2066\\u200e",
    "line\u2028": "line\\u2028",
    os.fsdecode(b"byte\xff"): "byte\\xff",
    "lone\ud800": "lone\\ud800",
    "tag\U000e0041": "tag\\U000e0041",
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.items(), ids=ascii)
def test_what_a_terminal_would_obey_is_escaped(text: str, expected: str) -> None:
    assert inert(text) == expected
    assert inert(text).isprintable()
    inert(text).encode()


@pytest.mark.parametrize(
    "text", ["Katze 猫.jpg", "<script>", "[red]", ":smile:", "می\u200cخواهم", "👨\u200d👩\u200d👧"]
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert inert(text) == text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_cell_of_a_csv_starts_a_formula(start: str) -> None:
    assert csv_text(f"{start}cmd|' /C calc'!A0").startswith("'")


def test_an_ordinary_cell_is_left_alone() -> None:
    assert csv_text("a=b.jpg") == "a=b.jpg"


def test_markup_and_emoji_names_are_printed_literally(capsys: pytest.CaptureFixture[str]) -> None:
    show(styled("[bold]x[/bold] :smile:"), "[red]y")
    assert capsys.readouterr().out == "[bold]x[/bold] :smile:\n[red]y\n"


def test_json_stays_valid_for_any_text_and_number(capsys: pytest.CaptureFixture[str]) -> None:
    write_json("test", {"names": list(HOSTILE), "figures": [float("nan"), float("inf"), 0.5]})
    printed = capsys.readouterr().out
    assert printed.isascii()
    read = json.loads(printed)
    assert (read["schema"], read["verb"]) == (1, "test")
    assert read["figures"] == [None, None, 0.5]
    json.dumps(read, ensure_ascii=False).encode()  # no lone surrogate, which strict readers refuse


def test_schema_and_verb_come_first_in_a_document() -> None:
    assert list(document("predict", {"images": 1})) == ["schema", "verb", "images"]


def test_a_bar_fills_its_width_at_one() -> None:
    assert (bar(0.0, 8), bar(0.5, 8), bar(1.0, 8)) == ("", "████", "████████")
    assert (bar(float("nan"), 8), bar(-3.0, 8), bar(7.0, 8)) == ("", "", "████████")


def test_numbers_and_sizes_in_words() -> None:
    assert (count(1, "image"), count(0, "image")) == ("1 image", "0 images")
    assert (size(1), size(1500), size(3_200_000), size(2 * 10**9)) == ("1 byte", "1.5 kB", "3.2 MB", "2.0 GB")


def test_progress_off_a_terminal_is_its_notes_and_the_first_of_each_kind_of_long_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Bars() as progress:
        progress.step("loading the model")
        assert list(progress.track("abc", 3, "read")) == ["a", "b", "c"]
        for number in (1, 2):
            progress.step(f"round {number} of 2", seconds_left=130 - number)
        progress.note("2 images")
        progress.warn("few images")
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == (
        "",
        ["round 1 of 2, about 2 min 0 s left", "2 images", "warning: few images"],
    )


def test_progress_on_a_terminal_is_a_line_that_vanishes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bars() as progress:
        progress.step("building [red]onnx\x1b")
        progress.step("reading", 2)
        progress.advance()
        progress.advance()
    captured = capsys.readouterr()
    assert "building [red]onnx\\x1b" in captured.err and "2/2" in captured.err
    assert captured.err.rstrip("\n").endswith("\x1b[2K") and not captured.out  # the line is taken away
