"""The first inference of a process comes back, whichever threads make it: see docs/upstream-openvino-hang.md."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from edgeclf_runtime.bundle.bundle import Bundle

# OpenVINO's bindings make a NumpyVersion while they fill their table of dtypes. One that gives up the interpreter's
# lock for a while brings the other thread to the same table, as happens by chance in a quarter of processes or more.
TWO_THREADS = """
import sys, threading, time
import numpy as np

make = np.lib.NumpyVersion.__init__
def make_slowly(self, version):
    time.sleep(0.3)
    make(self, version)
np.lib.NumpyVersion.__init__ = make_slowly

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.session import open_session

bundle, way = sys.argv[1:]
together = open_session(bundle) if way == "infer" else None
barrier, done = threading.Barrier(2), []

def run():
    barrier.wait()
    session = together or open_session(bundle, SessionOptions(threads=1))
    session(np.zeros((1, 8, 8, 3), np.uint8))
    done.append(way)

threads = [threading.Thread(target=run, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(done))
"""


@pytest.mark.parametrize("way", ["infer", "open and infer"])
def test_two_threads_that_start_at_once_both_come_back(way: str, shared_bundle: Callable[[str], Bundle]) -> None:
    pytest.importorskip("openvino")
    path = str(shared_bundle("openvino").path)
    command = [sys.executable, "-c", TWO_THREADS, path, way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
