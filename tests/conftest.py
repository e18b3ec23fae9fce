"""What tests of several layers need: the repository's root, a wheel built from it, skips where a package is missing."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from fake_gpu import FakeGpu
from warm_process import run_edgeclf

from edgeclf_runtime.session import BACKENDS

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # "small" tries the same examples in every run, and keeps none; --hypothesis-profile=long looks for new ones
    settings.register_profile("small", max_examples=60, deadline=None, derandomize=True, database=None)
    settings.register_profile("long", max_examples=20_000, deadline=None, print_blob=True)
    settings.load_profile("small")
else:
    collect_ignore_glob = ["*/test_any_*.py"]

OPTIONAL = {
    "ai_edge_litert",
    "ai_edge_quantizer",
    "av",
    "cryptography",
    "hypothesis",
    "lazy_loader",
    "litert_torch",
    "matplotlib",
    "onnx",
    "open_clip",
    "openvino",
    "prometheus_client",
    "ray",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "starlette",
    "timm",
    "torch",
    "torchvision",
    "uvicorn",
}
NEED_TORCH = {f"edgeclf_runtime.backends.{name}" for name in ("torch_head", "torch_module", "torchvision_guard")}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="every bare environment runs all tests of the runtime")


def pytest_configure() -> None:
    """Ctrl-C is for tests to send, and for the processes that they start: a shell's `&` would have it ignored there."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What has been imported stays: no collection of garbage has to look through its million objects."""
    gc.freeze()


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    """Whether every bare environment runs all tests of the runtime: `make test-pythons`."""
    return bool(pytestconfig.getoption("whole"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the working tree, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(root)]
    build = subprocess.run(command, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def edgeclf(tmp_path: Path) -> Run:
    """Runs the command line in its own process, standing in `tmp_path`; gives exit code, stdout and stderr as bytes."""

    def run(
        *arguments: str | os.PathLike[str], stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        command, env = [*map(os.fspath, arguments)], {**os.environ, "NO_COLOR": "1", **environment}
        if any(name.startswith("PYTHON") for name in environment):
            fresh = [sys.executable, "-m", "edgeclf", *command]
            return subprocess.run(fresh, input=stdin, capture_output=True, cwd=tmp_path, env=env, timeout=60)
        return run_edgeclf(command, cwd=tmp_path, env=env, stdin=stdin)

    return run


@pytest.fixture(scope="session", autouse=True)
def state_home_of_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where fixtures of a module or session count uses of a test split: never in the home of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_power_cut() -> Iterator[None]:
    """Nobody cuts the power of a test: no file waits for the disk, which takes longer than what many tests compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger of test images of its own for each test: `edgeclf` keeps one for a machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state" / uuid.uuid4().hex))


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    """A GPU that is not there: see fake_gpu.py. All that was allocated on it has to be freed when the test ends."""
    fake = FakeGpu()
    with fake.installed():
        yield fake
    assert (fake.cudart.live, fake.cudart.faults) == ({}, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Function) -> Generator[None]:
    target = item.callspec.params.get("target") if hasattr(item, "callspec") else None
    # TensorRT has a stand-in: fake_gpu.py
    if target in BACKENDS and target != "tensorrt" and importlib.util.find_spec(BACKENDS[target].module) is None:
        pytest.skip(f"{BACKENDS[target].module} is not installed")
    yield from skip_what_is_not_installed()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    yield from skip_what_is_not_installed()


def skip_what_is_not_installed() -> Generator[None]:
    """Skips a test that needs an optional package, but never one where edgeclf needs it by surprise.

    A test may import what it likes, and edgeclf may refuse with its own error; its own bare import is a fault.
    """
    try:
        yield
    except Exception as error:
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or str(missing.name).partition(".")[0] not in OPTIONAL:
            raise
        if missing is error and imported_by_edgeclf(missing):
            raise
        pytest.skip(f"{missing.name} is not installed")


def imported_by_edgeclf(error: ModuleNotFoundError) -> bool:
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(module.startswith("edgeclf") and module not in NEED_TORCH for module in modules)
