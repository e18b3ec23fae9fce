"""What a verb prints: results on stdout, everything else on stderr, and text from outside made inert first.

A file name or a label may hold anything: escape sequences, rich's markup, line breaks, characters that turn the text
around, bytes that are no UTF-8, a spreadsheet's formula. `inert` is for terminals, `csv_text` for spreadsheets,
`write_json` for programs. The consoles know no markup, so `[red]` stays what it is.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from edgeclf.lines import Line, is_terminal
from edgeclf.sheet import Sheet
from edgeclf.wording import duration, json_ready
from edgeclf_runtime.progress import Progress
from edgeclf_runtime.sanitize import inert as inert

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Lines
    from rich.text import Text

T = TypeVar("T")
JSON_SCHEMA = 1
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_NO_FOLDING = 1000


def csv_text(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula."""
    safe = inert(text)
    return f"'{safe}" if text.startswith(_FORMULA_STARTS) or safe.startswith(_FORMULA_STARTS) else safe


_begun = False  # whether stdout has a document of this command line already


def document(verb: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a verb's JSON document, its schema and verb first."""
    global _begun
    _begun = True
    return {"schema": JSON_SCHEMA, "verb": verb, **{key: json_ready(value) for key, value in fields.items()}}


def write_json(verb: str, fields: Mapping[str, Any]) -> None:
    """Prints one versioned document on stdout, plain ASCII."""
    print(json.dumps(document(verb, fields), indent=1, allow_nan=False), flush=True)  # `serve` goes on after it


def begin_documents() -> None:
    """A new command line: nothing of it is printed yet."""
    global _begun
    _begun = False


def write_json_error(verb: str, message: str, exit_code: int) -> None:
    """The document of a command line that failed, where stdout has none yet: whoever parses it finds JSON."""
    if not _begun:
        write_json(verb, {"error": {"message": message, "exit_code": exit_code}})


def _console(*, stderr: bool) -> Console:
    """rich's console on stdout or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def say(text: str, style: str = "") -> None:
    """One line of prose on stderr; `text` is made inert."""
    Line(inert(text), style).print(sys.stderr)


def show(*renderables: RenderableType) -> None:
    """Tables and texts on stdout; what came from outside was made inert by the caller.

    Off a terminal lines are neither folded nor padded, so that `grep` finds a digest whole.
    """
    console = _console(stderr=False)
    if console.is_terminal:
        console.print(*renderables, sep="\n")
        return
    console.width = _NO_FOLDING
    with console.capture() as captured:
        console.print(*renderables, sep="\n")
    for line in captured.get().splitlines():
        print(line.rstrip())


def grid(*headings: str, title: int = 1) -> Sheet:
    """A table without lines, for any width; the first `title` columns name a row."""
    return Sheet(headings, title)


def styled(text: str, style: str = "") -> Text:
    """`text`, made inert, in a colour."""
    from rich.text import Text

    return Text(inert(text), style=style)


def verdict(found: str) -> Text:
    """A proof's verdict with its sign, in its colour."""
    sign = "?" if found == "inconclusive" else mark(found == "pass")
    return styled(f"{sign} {found}", {"pass": "green", "fail": "bold red"}.get(found, "yellow"))


def suggest(*commands: str) -> None:
    """The last lines of a verb: what to type next."""
    for position, command in enumerate(commands):
        say(f"{'next: ' if position == 0 else '      '}{command}", style="dim")


def bar(share: float, width: int) -> str:
    """A bar of `width` cells at most for a share of 0..1; eighths of a cell where the terminal has them."""
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    if not _prints_blocks():
        return "#" * round(share * width)
    whole, part = divmod(round(share * width * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


def mark(fine: bool) -> str:
    """A tick or a cross."""
    if _prints_blocks():
        return "✓" if fine else "✗"
    return "+" if fine else "x"


def _prints_blocks() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


class Bars(Progress):
    """Progress as one line at the foot of the terminal, which vanishes with its step; off a terminal nothing moves.

    Notes and warnings are lines on stderr everywhere. Steps that say how long they take are lines off a terminal, too,
    the first of each kind (a kind is a first word): whoever reads a log learns how long to wait.
    """

    def __init__(self, *, disable: bool = False) -> None:
        self._moves = is_terminal(sys.stderr) and not disable
        self._lines: Lines | None = None
        self._counts, self._kind = False, ""

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, what: str, total: int | None = None, *, seconds_left: float | None = None) -> None:
        shown = what if seconds_left is None else f"{what}, about {duration(seconds_left)} left"
        if self._moves:
            if self._lines is None or self._counts != (total is not None):
                self._open(counts=total is not None)
            assert self._lines is not None
            self._lines.reset(self._lines.task_ids[0], total=total, description=inert(shown))
            self._lines.start()
        elif seconds_left is not None and what.split(" ")[0] != self._kind:
            self._kind = what.split(" ")[0]
            say(shown, style="dim")

    def advance(self, parts: int = 1) -> None:
        if self._lines is not None:
            self._lines.advance(self._lines.task_ids[0], parts)
            if self._lines.finished:
                self.close()

    def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
        say(sentence)

    def warn(self, sentence: str) -> None:
        say(f"warning: {sentence}", style="yellow")

    def track(self, items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
        try:
            yield from super().track(items, total, what)
        finally:
            self.close()

    def close(self) -> None:
        """Takes the line away."""
        if self._lines is not None:
            self._lines.stop()
            self._lines = None

    def _open(self, *, counts: bool) -> None:
        """A new line, not yet drawn: with a bar where parts are counted, else with a sign that turns."""
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Lines

        self.close()
        what = TextColumn("{task.description}", markup=False)
        bar = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        columns = bar if counts else (SpinnerColumn(), what)
        self._lines = Lines(*columns, console=_console(stderr=True), transient=True, redirect_stdout=False)
        self._counts = counts
        self._lines.add_task("", total=None)
