"""What a verb reports of its gates: rows without one, and verdicts that end it with exit code 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeclf.console import say
from edgeclf_runtime.errors import GateError

if TYPE_CHECKING:
    from edgeclf_benchmarks.measuring.report import Gate


def say_left_out(rows: Sequence[str]) -> None:
    """On stderr, the rows that no gate applies to."""
    if rows:
        say(f'no gate applies to {", ".join(rows)}; "NAME: GATE" picks a row by its name', style="dim")


def check_gates(gates: Sequence[Gate], *, strict: bool) -> None:
    """Raises GateError where a gate failed; with `strict` also where one is inconclusive."""
    if failed := [each for each in gates if each.verdict == "fail"]:
        raise GateError(f"{len(failed)} of {len(gates)} gates failed, the first: {failed[0].line}")
    if strict and (doubtful := [each for each in gates if each.verdict == "inconclusive"]):
        raise GateError(f"{len(doubtful)} of {len(gates)} gates are inconclusive, the first: {doubtful[0].line}")
