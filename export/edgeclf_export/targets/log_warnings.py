"""Warnings that converters and quantizers log for their developers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_log_warnings() -> Iterator[None]:
    """Drops what is logged as a warning or below; errors are raised, not logged."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
