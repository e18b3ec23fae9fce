"""Files that are passed over are counted by kind, and named on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeclf.verbs.shared.passed_over import say_passed_over


@pytest.mark.parametrize("verbose", [False, True])
def test_kinds_that_may_hold_images_come_first_and_verbose_names_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verbose: bool
) -> None:
    for name in ("a.txt", "b.txt", "c.dng", "d.jpg", "README", ".hidden/e.txt"):
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text("")
    say_passed_over([tmp_path], 4, verbose=verbose)
    printed = capsys.readouterr().err
    assert "4 other files passed over: 1 .dng, 1 without a suffix, 2 .txt" in printed
    assert ("--verbose names them" in printed) != verbose and (str(tmp_path / "b.txt") in printed) == verbose
    assert "d.jpg" not in printed and "e.txt" not in printed


def test_nothing_is_printed_where_nothing_was_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    say_passed_over(["nowhere"], 0, verbose=True)
    assert capsys.readouterr().err == ""
