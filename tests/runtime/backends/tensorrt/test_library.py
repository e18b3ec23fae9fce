"""Which TensorRT is taken, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from fake_gpu import FakeGpu

from edgeclf_runtime.backends.tensorrt import library
from edgeclf_runtime.backends.tensorrt.library import import_rtx, import_tensorrt, version_numbers
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.installing import pip_install

Install = Callable[..., None]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes these modules, as name=version or name=error, the only TensorRTs of the machine."""

    def install(**modules: str | Exception) -> None:
        monkeypatch.setattr(library, "find_spec", lambda name: modules.get(name) and object())

        def load(name: str) -> ModuleType:
            found = modules[name]
            if isinstance(found, Exception):
                raise found
            module = ModuleType(name)
            module.__dict__.update(FakeGpu().trt.__class__.__dict__, __version__=found, __name__=name)
            return module

        monkeypatch.setattr(library, "import_module", load)

    return install


def test_tensorrt_comes_before_tensorrt_rtx(only: Install) -> None:
    only(tensorrt="10.3.0", tensorrt_rtx="1.7.1.116")
    found = import_tensorrt()
    assert (found.flavour, found.version) == ("tensorrt", "10.3.0")


@pytest.mark.parametrize("name", ["tensorrt_rtx", "tensorrt_rtx_bindings"])
def test_tensorrt_rtx_is_taken_where_it_alone_is_installed(name: str, only: Install) -> None:
    only(**{name: "1.7.1.116"})
    assert import_tensorrt().flavour == "tensorrt-rtx"
    found = import_rtx()
    assert found is not None and found.version == "1.7.1.116"


def test_without_tensorrt_both_ways_to_get_it_are_named(only: Install) -> None:
    only()
    assert import_rtx() is None
    with pytest.raises(BackendError) as raised:
        import_tensorrt()
    for words in ("sudo apt install python3-libnvinfer", "--system-site-packages", pip_install("tensorrt")):
        assert words in str(raised.value)


def test_a_broken_tensorrt_is_not_replaced_by_tensorrt_rtx(only: Install) -> None:
    only(tensorrt=ImportError("libnvinfer.so.10: cannot open"), tensorrt_rtx="1.7.1.116")
    with pytest.raises(BackendError, match=r"tensorrt can't be imported \(libnvinfer.so.10"):
        import_tensorrt()


def test_a_broken_tensorrt_rtx_is_an_error_that_shows_how_to_fix_it(only: Install) -> None:
    only(tensorrt_rtx=ImportError("libtensorrt_rtx.so.1: cannot open"))
    with pytest.raises(BackendError, match=r"pip install '.*\[tensorrt-rtx\]' --force-reinstall"):
        import_rtx()


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0.post1"])
def test_a_tensorrt_older_than_jetpack_6s_is_refused(version: str, only: Install) -> None:
    only(tensorrt=version)
    with pytest.raises(BackendError, match=rf"TensorRT {version} is too old, edgeclf needs 10.3"):
        import_tensorrt()


def test_versions_are_read_as_numbers() -> None:
    assert version_numbers("10.3.0.post1") == (10, 3, 0)
    assert version_numbers("1.7.1.116") == (1, 7, 1, 116)
    assert version_numbers("dev") == ()


def test_errors_and_warnings_are_kept_for_those_who_listen(gpu: FakeGpu) -> None:
    severity, log = gpu.trt.ILogger.Severity, gpu.library.log
    log.log(severity.ERROR, "nobody listens")
    with gpu.library.listening() as outer, gpu.library.listening() as inner:
        log.log(severity.ERROR, "one")
        log.log(severity.INTERNAL_ERROR, "two")
        log.log(severity.WARNING, "three")
        log.log(severity.INFO, "four")
    log.log(severity.ERROR, "too late")
    assert (outer.errors, outer.warnings) == (inner.errors, inner.warnings) == (["one", "two"], ["three"])


def test_a_module_has_one_logger_for_tensorrt_keeps_the_first(gpu: FakeGpu) -> None:
    assert library.library_of(gpu.trt, "tensorrt").log is gpu.library.log
