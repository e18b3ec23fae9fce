"""Forks a process for each command, with the slow imports done: what `kill -9` is sent to costs seconds less.

Run as a process of its own by process.py. Reads a JSON object a line on stdin, answers with one on stdout.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
import tempfile
from typing import Any

from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import BackendError

_WARM = (
    "edgeclf.training.train",
    "edgeclf_export.exporter",
    "matplotlib.pyplot",
    "onnx",
    "onnxscript",
    "sklearn.svm",
    "timm",
    "torch.onnx",
    "torchvision.transforms.v2",
)


def main() -> None:
    importlib.import_module("edgeclf.cli")
    if "--warm" in sys.argv:
        _warm()
    _answer({})
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status, used = os.wait4(request["wait"], 0)
            _answer({"code": os.waitstatus_to_exitcode(status), "cpu_s": used.ru_utime + used.ru_stime})
        else:
            _answer({"pid": _fork(request)})


def _warm() -> None:
    with contextlib.suppress(BackendError):
        import_onnxruntime()  # without its telemetry, and so without a thread that a forked process would lack
    with contextlib.suppress(ImportError):
        guard_torchvision()
    for name in _WARM:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _answer(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def _fork(request: dict[str, Any]) -> int:
    """The id of a process that heads a group of its own, before it begins."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.setsid()
        os.close(reading)
        os.write(writing, b"1")
        os.close(writing)
        _become_edgeclf(request)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return child


def _become_edgeclf(request: dict[str, Any]) -> None:
    code: Any = 70
    try:
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        tempfile.tempdir = None  # to be looked up again, in that environment
        for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
            opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        # the server's own holds the next requests
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
        sys.argv = ["edgeclf", *request["arguments"]]
        runpy.run_module("edgeclf", run_name="__main__", alter_sys=False)
        code = 0
    except SystemExit as leaving:
        code = leaving.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main()
