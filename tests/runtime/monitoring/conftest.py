"""Tiny bundles: an 8x8 linear classifier that tells red, green and blue apart."""

from __future__ import annotations

from colours import bundle as bundle
from colours import make_bundle as make_bundle
