"""What single backends promise beyond the contract that all of them keep."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError, BundleError
from edgeclf_runtime.installing import pip_install
from edgeclf_runtime.session import BACKENDS, open_session

Shared = Callable[[str], Bundle]


# -- single backends


def test_openvino_computes_in_the_requested_precision_and_reports_it(shared_bundle: Shared) -> None:
    bundle = shared_bundle("openvino")
    batch = tiny.random_pixels(6)
    with open_session(bundle, SessionOptions(compute_precision="fp32")) as session:
        assert session.compute_precision == "fp32"
        exact = session(batch)
    assert tiny.close_to(exact, tiny.reference_logits("openvino", batch))
    if not can_compute_in_bf16():
        with pytest.raises(BackendError, match="requested bf16 of openvino, it computes in"):
            open_session(bundle, SessionOptions(compute_precision="bf16"))
        return
    with open_session(bundle, SessionOptions(compute_precision="bf16")) as session:
        assert session.compute_precision == "bf16"
        assert not np.array_equal(session(batch), exact)


def can_compute_in_bf16() -> bool:
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_openvino_keeps_one_request_per_thread(shared_bundle: Shared) -> None:
    batch = tiny.random_pixels(2)
    every_thread_is_here = threading.Barrier(4, timeout=30)
    with open_session(shared_bundle("openvino")) as session, ThreadPoolExecutor(4) as pool:
        engine: Any = session.check_usable()

        def request_of_this_thread(_: int) -> Any:
            every_thread_is_here.wait()
            session(batch)
            first = engine._local.__dict__[len(batch)]
            session(batch)
            assert engine._local.__dict__[len(batch)] is first
            return first

        requests = list(pool.map(request_of_this_thread, range(4)))
    assert len({id(request) for request in requests}) == 4


def test_onnx_runtimes_telemetry_is_off_before_it_is_imported(shared_bundle: Shared) -> None:
    with open_session(shared_bundle("onnx")):
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("target", ["onnx", "openvino", "litert", "pytorch"])
def test_a_missing_engine_names_the_line_that_installs_it(
    target: str, shared_bundle: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shared_bundle(target)
    backend = BACKENDS[target]
    monkeypatch.setitem(sys.modules, backend.module, None)
    with pytest.raises(BackendError, match=re.escape(pip_install(backend.extra))):
        open_session(bundle)


def copy_of(bundle: Bundle, folder: Path) -> Path:
    return Path(shutil.copytree(bundle.path, folder))


@pytest.mark.parametrize(
    ("builder", "error", "message"),
    [
        (b"", BundleError, "model.json"),
        (b"[]", BundleError, "wanted an object"),
        (b'{"library": "os", "name": "system"}', BundleError, "wanted one of timm, torchvision"),
        (b'{"library": "timm", "name": "no_such_net"}', BackendError, "has no model 'no_such_net'"),
        (b'{"library": "timm", "name": "hf_hub:a/b"}', BackendError, "has no model 'hf_hub:a/b'"),
        (b'{"library": "torchvision", "name": "get_model"}', BackendError, "has no classifier 'get_model'"),
        (
            b'{"library": "timm", "name": "test_resnet", "arguments": {"checkpoint_path": 1}}',
            BundleError,
            "argument 'checkpoint_path' is not one of",
        ),
        (b'{"library": "timm", "name": "test_resnet", "arguments": {"num_classes": 7}}', BundleError, "does not fit"),
    ],
)
def test_a_pytorch_bundle_builds_registered_names_with_plain_numbers_only(
    builder: bytes, error: type[Exception], message: str, shared_bundle: Shared, tmp_path: Path
) -> None:
    folder = copy_of(shared_bundle("pytorch"), tmp_path / "copy")
    (folder / "model.json").write_bytes(builder)
    with pytest.raises(error, match=message):
        open_session(tiny.reseal(folder))


def test_a_pickle_in_a_pytorch_bundle_never_runs(shared_bundle: Shared, tmp_path: Path) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    folder = copy_of(shared_bundle("pytorch"), tmp_path / "copy")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        open_session(tiny.reseal(folder))
    assert not (tmp_path / "ran").exists()


def test_pytorch_computes_in_the_precision_of_the_manifest(shared_bundle: Shared, tmp_path: Path) -> None:
    folder = copy_of(shared_bundle("pytorch"), tmp_path / "copy")
    tiny.reseal(folder, compute_precision="bf16")
    batch = tiny.random_pixels(2, "pytorch")
    with open_session(folder) as session:
        assert session.compute_precision == "bf16"
        exact = tiny.reference_logits("pytorch", batch)
        assert not np.array_equal(session(batch), exact)
        assert np.allclose(session(batch), exact, atol=0.1 * float(np.ptp(exact)))


def test_an_engine_that_computes_in_something_else_is_closed_and_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Other:
        compute_precision = "bf16"
        facts: dict[str, str] = {}  # noqa: RUF012

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setitem(BACKENDS, "reference", replace(BACKENDS["reference"], open_engine=lambda *_: Other()))
    with pytest.raises(BackendError, match="requested fp32 of reference, it computes in bf16"):
        open_session(bundle)
    assert closed == [True]
