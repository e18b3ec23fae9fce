"""A process that was forked beside open engines neither dies nor hangs, whatever there would free them."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tiny

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.forked import guard_forks
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.session import Session, open_session

Shared = Callable[[str], Bundle]
ENGINES = pytest.mark.parametrize(
    ("target", "options"),
    [
        ("onnx", SessionOptions(threads=8)),
        ("openvino", SessionOptions(threads=2)),
        ("openvino", SessionOptions(threads=2, streams=2)),
    ],
)
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def used(bundle: Bundle, options: SessionOptions) -> Session:
    session = open_session(bundle, options)
    session(tiny.random_pixels(1))
    return session


def cycle(of: Any) -> None:
    """Garbage for the collector to find: what holds itself."""
    held = [of]
    held.append(held)


def exit_code(of: Callable[[], Any] = lambda: None) -> int:
    """Exit code of a forked child that does this; negative: the signal that it died of, SIGALRM after a hang."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        of()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@ENGINES
def test_an_engine_whose_name_goes_out_of_scope(target: str, options: SessionOptions, shared_bundle: Shared) -> None:
    names = [used(shared_bundle(target), options)]
    assert exit_code(names.clear) == 0
    assert len(names[0](tiny.random_pixels(1))) == 1


@ENGINES
def test_an_engine_that_is_garbage(target: str, options: SessionOptions, shared_bundle: Shared) -> None:
    gc.disable()
    try:
        cycle(used(shared_bundle(target), options))
        assert exit_code(gc.collect) == 0
    finally:
        gc.enable()


@ENGINES
def test_an_engine_that_another_thread_holds(target: str, options: SessionOptions, shared_bundle: Shared) -> None:
    local = threading.local()

    def hold() -> None:
        local.session = used(shared_bundle(target), options)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold).result()
        assert exit_code() == 0


@ENGINES
def test_what_another_thread_has_asked_an_engine(target: str, options: SessionOptions, shared_bundle: Shared) -> None:
    with open_session(shared_bundle(target), options) as session, ThreadPoolExecutor(1) as pool:
        pool.submit(session, tiny.random_pixels(1)).result()
        assert exit_code() == 0
        assert len(pool.submit(session, tiny.random_pixels(1)).result()) == 1


def test_a_session_of_onnx_runtime_itself_that_is_garbage(shared_bundle: Shared) -> None:
    guard_forks()
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 8
    model = shared_bundle("onnx").read("model.onnx")
    gc.disable()
    try:
        cycle(onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"]))
        assert exit_code(gc.collect) == 0
    finally:
        gc.enable()


def test_an_engine_is_freed_where_it_was_opened_also_after_a_fork(shared_bundle: Shared) -> None:
    freed = threading.Event()
    session = used(shared_bundle("onnx"), SessionOptions())
    engine: Any = session.check_usable()
    engine.told = type("Told", (), {"__del__": lambda _: freed.set()})()
    assert exit_code() == 0
    del engine, session
    gc.collect()
    assert freed.is_set()
