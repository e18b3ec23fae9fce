"""What a comparison may end in."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["pass", "fail", "inconclusive"]
