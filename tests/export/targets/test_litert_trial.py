"""A model that crashes its engine ends a child process, not the exporter."""

from __future__ import annotations

import pytest
import tiny
import tiny_litert

from edgeclf_export.targets import litert_trial
from edgeclf_export.targets.litert_trial import try_pieces

pytest.importorskip("ai_edge_litert")


def test_a_sound_models_pieces_are_those_of_a_session() -> None:
    found = try_pieces(tiny_litert.linear(*tiny.linear_weights(0)))
    assert found is not None and str(found) == "XNNPACK, in 1 of 2 steps, beside it CAST"


def test_a_crash_is_found_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "import os, signal; report = lambda: os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(litert_trial, "_CODE", crash)
    assert try_pieces(b"") is None
