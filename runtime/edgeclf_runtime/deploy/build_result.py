"""What `build` comes to, and where its bundles go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeclf_runtime.backends.audit import Audit
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.proof import Proof


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `build` came to.

    Attributes
    ----------
    bundle
        What runs here: the new bundle, or the given one.
    made
        Whether it is new.
    proof
        How it compares with its golden outputs on this machine.
    saved_at
        Where the proof lies if it is not inside the bundle; None also where that place can't be written.
    median_ms
        One image, pixels to logits, or one text, tokens to embedding; decoding and tokenizing not counted.
    audit
        What a new engine computes in, as its inspector reports.
    remarks
        What a user should know: TensorRT's warnings, memory, what the audit left open.
    """

    bundle: Bundle
    made: bool
    proof: Proof
    saved_at: Path | None
    median_ms: float
    audit: Audit | None = None
    remarks: tuple[str, ...] = ()


def beside(bundle: Bundle) -> Path:
    """The folder that a bundle lies in."""
    return bundle.path.parent if bundle.path.name not in ("", "..") else bundle.path.resolve().parent
