"""A machine with a GPU that is not there: stand-ins for CUDA and TensorRT where edgeclf looks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fake_cuda import FakeCudart
from fake_tensorrt import FakeTensorRT

from edgeclf_runtime.backends.tensorrt.cuda import Cuda
from edgeclf_runtime.backends.tensorrt.library import Library, library_of


class FakeGpu:
    """A machine with the stand-ins in place of CUDA and TensorRT."""

    def __init__(self, cudart: FakeCudart | None = None, trt: FakeTensorRT | None = None) -> None:
        self.cudart = cudart or FakeCudart()
        self.trt = trt or FakeTensorRT(self.cudart)
        self.cuda = Cuda(self.cudart)
        self.library: Library = library_of(self.trt, "tensorrt")

    @contextmanager
    def installed(self) -> Iterator[FakeGpu]:
        """edgeclf finds this machine's GPU and TensorRT while the block runs."""
        with pytest.MonkeyPatch.context() as patch:
            for module in ("backends.tensorrt.backend", "deploy.build", "backends.tensorrt.builder"):
                patch.setattr(f"edgeclf_runtime.{module}.open_cuda", lambda: self.cuda)
            for module in ("backends.tensorrt.backend", "deploy.build"):
                patch.setattr(f"edgeclf_runtime.{module}.import_tensorrt", lambda: self.library)
            yield self
