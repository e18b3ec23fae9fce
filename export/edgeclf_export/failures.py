"""Targets that gave no bundle: reported at the end, when the others are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf_runtime.bundle.quantization_report import Ladder
from edgeclf_runtime.errors import GateError


@dataclass(frozen=True, slots=True)
class Failed:
    """A target without a bundle: the reason, the folder where its model is kept aside, and its int8 ladder."""

    target: str
    reason: str
    aside: Path | None = None
    ladder: Ladder | None = None


class TargetsFailed(GateError):
    """Raised when all targets were tried; its message gives the result of each."""

    def __init__(self, failed: Sequence[Failed], made: Sequence[str]) -> None:
        whole = "; ".join(each.reason for each in failed)
        targets = len(failed) + len(made)
        if targets > 1:
            others = f"; {' and '.join(made)} {'is' if len(made) == 1 else 'are'} made" if made else ""
            reasons = "; ".join(
                each.reason if each.reason.startswith(each.target) else f"{each.target}: {each.reason}"
                for each in failed
            )
            whole = f"{len(failed)} of {targets} targets failed: {reasons}{others}"
        super().__init__(whole)
        self.failed = tuple(failed)
