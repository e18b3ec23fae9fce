"""The Pythons of this machine: on the path, pyenv's, uv's. One that can't start, or makes no environments, is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
_ASK = (
    "import ensurepip, json, sys, sysconfig, venv\n"
    "print(json.dumps([list(sys.version_info[:3]), bool(sysconfig.get_config_var('Py_GIL_DISABLED'))]))"
)


def find_interpreters() -> dict[str, Path]:
    """Minor version, such as "3.12" -> an interpreter that runs it, of those that edgeclf supports."""
    found = {".".join(map(str, sys.version_info[:2])): Path(sys.executable)}
    for minor in SUPPORTED:
        for candidate in _candidates(minor):
            if minor not in found and _runs(candidate, minor):
                found[minor] = candidate
    return {minor: found[minor] for minor in SUPPORTED if minor in found}


def _candidates(minor: str) -> Iterator[Path]:
    name = f"python{minor}"
    if on_path := shutil.which(name):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
    for root, pattern in ((pyenv / "versions", f"{minor}.*"), (uv, f"cpython-{minor}.*")):
        yield from sorted(root.glob(f"{pattern}/bin/{name}"), reverse=True)


def _runs(python: Path, minor: str) -> bool:
    """Whether it starts (a shim of pyenv may not), is that version, can make environments and has its global lock."""
    probe = subprocess.run([python, "-c", _ASK], capture_output=True, text=True)
    if probe.returncode:
        return False
    version, free_threaded = json.loads(probe.stdout)
    return ".".join(map(str, version[:2])) == minor and not free_threaded
