"""Imports open_clip with a quiet hub client, and keeps it from writing to the root logger."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from edgeclf_export.sources.published import quiet_hub
from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision


def import_open_clip() -> Any:
    """The module. Raises BackendError, with the line that installs it, where it is missing."""
    quiet_hub()
    try:
        guard_torchvision()
        import open_clip
    except ImportError as error:
        raise missing_engine("open_clip", "clip", error) from error
    return open_clip


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Silences open_clip's warnings: through the root logger, they would set up logging for the whole process."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
