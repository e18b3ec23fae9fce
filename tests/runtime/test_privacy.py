"""Nothing phones home: no network socket, no database in the user's folders, and no torch where it is not needed."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from edgeclf_runtime.bundle.bundle import Bundle

WATCH = Path(__file__).with_name("network_watch.py")

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the filter is written for Linux on x86-64 and aarch64",
)


def watched(action: str | Path, home: Path | None) -> subprocess.CompletedProcess[str]:
    """Runs the watch with every folder of the user set to `home`, or unset."""
    environment = {"PATH": os.environ["PATH"]}
    if home is not None:
        names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
        environment |= dict.fromkeys(names, str(home))
    command = [sys.executable, "-W", "ignore", str(WATCH), str(action)]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("action", ["socket", "socket6", "native"])
def test_the_watch_kills_a_process_that_opens_a_network_socket(action: str, tmp_path: Path) -> None:
    assert watched(action, tmp_path).returncode == -signal.SIGSYS


@pytest.mark.parametrize(
    "target", [pytest.param(each, marks=pytest.mark.check if each == "pytorch" else []) for each in tiny.TARGETS]
)
def test_predicting_opens_no_socket_and_writes_nothing(
    target: str, shared_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    done = watched(shared_bundle(target).path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [str(path) for path in tmp_path.rglob("*")] == []
    if target != "pytorch":
        assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "target", [*(pytest.param(each, marks=pytest.mark.slow) for each in ("reference", "onnx")), "openvino"]
)
def test_predicting_works_without_a_home(target: str, shared_bundle: Callable[[str], Bundle]) -> None:
    done = watched(shared_bundle(target).path, None)
    assert done.returncode == 0, done.stderr
