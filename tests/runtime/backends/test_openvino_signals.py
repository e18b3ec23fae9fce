"""Signals reach Python's handlers beside OpenVINO, in whichever order and thread its sessions are closed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf_runtime.bundle.bundle import Bundle

pytest.importorskip("openvino")

# in a process of its own, for where this fails it dies
SCRIPT = """
import os, signal, sys, threading
from edgeclf_runtime.session import open_session

handled = []
signal.signal(signal.SIGUSR1, lambda number, frame: handled.append(number))
first, second = (open_session(sys.argv[1]) for _ in range(2))
first.close()
second.close()
os.kill(os.getpid(), signal.SIGUSR1)
third = open_session(sys.argv[1])
closing = threading.Thread(target=third.close)
closing.start()
closing.join()
del third
os.kill(os.getpid(), signal.SIGUSR1)
sys.exit(0 if len(handled) == 2 else 1)
"""


def test_a_signal_is_handled_after_sessions_were_closed(shared_bundle: Callable[[str], Bundle]) -> None:
    path = shared_bundle("openvino").path
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_one_place_that_makes_openvino_cores() -> None:
    root = Path(__file__).parents[3]
    packages = (root / folder for folder in ("runtime", "benchmarks", "export", "edgeclf", "tests"))
    sources = (path for package in packages for path in package.rglob("*.py"))
    made = {path.name for path in sources if ".Core()" in path.read_text() and path.parent.name != "workers"}
    # Two measure it alone, in fresh processes; workers of peers run without edgeclf.
    assert made <= {"ov.py", "first_inference.py", "one_prediction.py", Path(__file__).name}
