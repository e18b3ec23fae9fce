"""What most commands import, where it is installed: loaded once by the process that warm_process.py forks from."""

from __future__ import annotations

import contextlib

import numpy  # noqa: F401
import PIL.Image  # noqa: F401

import edgeclf.cli
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import BackendError

edgeclf.cli.build_app()  # all verbs
with contextlib.suppress(BackendError):
    import_onnxruntime()  # without its telemetry, and so without a thread that a forked process would lack
with contextlib.suppress(ImportError):
    import torch  # noqa: F401

    guard_torchvision()
    import timm  # noqa: F401
