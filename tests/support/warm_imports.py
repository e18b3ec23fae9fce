"""What most commands import, where it is installed: loaded once by the process that warm_process.py forks from.

Nothing here may start a thread: a forked process would lack it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil

import typer.main

import edgeclf.cli
import edgeclf.commands
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import BackendError

os.fsync = lambda _: None  # as the fixture no_power_cut in tests/conftest.py
with contextlib.suppress(BackendError):
    import_onnxruntime()  # without its telemetry, and so without a thread
with contextlib.suppress(ImportError):
    import torch

    guard_torchvision()
    import timm  # noqa: F401
    import torch.onnx._internal.exporter._core  # noqa: F401

for name in (
    "numpy",
    "PIL.Image",
    "onnx",
    "onnxscript",
    "onnxslim",
    "prometheus_client",
    "pydantic.type_adapter",
    "rich.console",
    "rich.table",
    "sklearn.metrics",
    "starlette.applications",
    "torchvision.transforms.v2",
    "typer._adapters",
    "uvicorn",
    "zoneinfo",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
with contextlib.suppress(ImportError):
    importlib.import_module("PIL.Image").preinit()
for package in ("edgeclf_runtime", "edgeclf_benchmarks", "edgeclf_export", "edgeclf"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
typer.main.get_command(edgeclf.commands.build_app())
gc.freeze()  # the pages of all this stay shared: no collection of a forked process writes into them
