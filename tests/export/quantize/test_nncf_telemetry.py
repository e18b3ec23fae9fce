"""NNCF, which has telemetry, sends nothing: OpenVINO's telemetry is hidden from it before the import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WATCH = Path(__file__).parents[2] / "runtime" / "network_watch.py"
SCRIPT = """
import runpy, sys
watch = runpy.run_path(sys.argv[1])
watch["forbid_network_sockets"]()
from edgeclf_export.targets.ov_quantizer import import_nncf
import_nncf()
import nncf.telemetry.wrapper as wrapper
assert sys.modules["openvino_telemetry"] is None
print(type(wrapper.telemetry).__name__)
"""


def test_nncf_finds_no_telemetry_and_opens_no_socket(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(WATCH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "MagicMock\n"
