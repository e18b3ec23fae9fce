"""Tiny bundles and pictures: an 8x8 linear classifier that tells red, green and blue apart."""

from __future__ import annotations

import pytest
from colours import bundle as bundle
from colours import classes as classes
from colours import make_bundle as make_bundle
from colours import photos as photos
from colours import picture, png


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is evaluated in this process has no plots: tests/edgeclf/evaluation looks at them."""
    monkeypatch.setattr("edgeclf.evaluation.plots.draw_plots", lambda *_: [])


@pytest.fixture
def red() -> bytes:
    """A red picture as PNG."""
    return png(picture("red"))
