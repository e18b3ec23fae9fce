"""Options that take several values with a comma between: each is checked and completed as typer does a single one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer


def each_of(choices: Sequence[str]) -> Callable[[str | None], str | None]:
    """A callback that raises BadParameter, in typer's words, for the first value that is none of the choices."""

    def check(text: str | None) -> str | None:
        for word in [] if text is None else text.split(","):
            if word.strip() not in choices:
                listed = ", ".join(map(repr, choices))
                raise typer.BadParameter(f"{word.strip()!r} is not one of {listed}.")
        return text

    return check


def completed_from(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """What the shell completes behind the last comma."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in choices if name.startswith(last)]

    return complete
