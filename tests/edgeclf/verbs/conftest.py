"""Tiny bundles and pictures: an 8x8 linear classifier that tells red, green and blue apart."""

from __future__ import annotations

import pytest
from colours import bundle as bundle
from colours import classes as classes
from colours import make_bundle as make_bundle
from colours import photos as photos
from colours import picture, png


@pytest.fixture
def red() -> bytes:
    """A red picture as PNG."""
    return png(picture("red"))
