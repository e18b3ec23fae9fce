"""Where edgeclf keeps what belongs to this machine and to no bundle."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """`$XDG_STATE_HOME/edgeclf`, or `~/.local/state/edgeclf`; it need not exist.

    Raises RuntimeError where there is no home. https://specifications.freedesktop.org/basedir-spec/
    """
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "edgeclf"
