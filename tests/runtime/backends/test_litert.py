"""What LiteRT's backend reads back of its graph, and how it takes what is no model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny

from edgeclf_runtime.backends.litert import open_file, open_interpreter
from edgeclf_runtime.backends.litert_graph import computed_precision, count_stored, pieces, products
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError, BundleError
from edgeclf_runtime.session import open_session

pytest.importorskip("ai_edge_litert")
Shared = Callable[[str], Bundle]


@pytest.fixture
def model(shared_bundle: Shared) -> bytes:
    return shared_bundle("litert").read("model.tflite")


def test_products_are_found_with_their_work_and_type(model: bytes) -> None:
    (product,) = products(open_interpreter(model, "tiny"))
    assert (product.macs, product.precision) == (tiny.SIDE**2 * 3 * len(tiny.LABELS), "fp32")
    assert computed_precision(open_interpreter(model, "tiny")) == "fp32"


def test_stored_weights_are_counted_from_the_file_alone(model: bytes) -> None:
    assert count_stored(open_file(model, "tiny")) == {"fp32": tiny.SIDE**2 * 3 * len(tiny.LABELS)}


def test_what_the_delegate_leaves_to_slow_kernels_is_counted_and_named(model: bytes) -> None:
    found = pieces(open_interpreter(model, "tiny"))
    assert found.left == ("CAST",) and found.count == 1 + found.delegated
    assert pieces(open_file(model, "tiny")).delegated == 0
    assert str(found) == f"XNNPACK, in {found.delegated} of {found.count} steps, beside it CAST"


def test_a_session_reports_its_delegate(shared_bundle: Shared) -> None:
    with open_session(shared_bundle("litert")) as session:
        assert session.facts["delegate"].startswith("XNNPACK, in 1 of 2 steps")


def test_calls_at_the_same_time_have_an_interpreter_each_and_later_ones_take_those(shared_bundle: Shared) -> None:
    batch, together = tiny.random_pixels(1), threading.Barrier(3, timeout=30)
    with open_session(shared_bundle("litert")) as session, ThreadPoolExecutor(3) as pool:
        engine: Any = session.check_usable()
        invoke = engine._open_another

        def open_when_all_are_here() -> Any:
            opened = invoke()
            together.wait()
            return opened

        engine._idle.clear()
        engine._open_another = open_when_all_are_here
        list(pool.map(lambda _: session(batch), range(3)))
        assert len(engine._idle) == 3
        list(pool.map(lambda _: session(batch), range(9)))
        assert len(engine._idle) == 3


@pytest.mark.parametrize("damaged", [b"", b"no model", b"TFL3" * 20])
def test_what_is_no_model_is_refused_in_one_line(damaged: bytes, tmp_path: Path, capfd: Any) -> None:
    bundle = tiny.build(tmp_path / "b", "litert")
    (bundle.path / "model.tflite").write_bytes(damaged)
    with pytest.raises(BundleError, match=r"model\.tflite: LiteRT can't load it"):
        open_session(tiny.reseal(bundle.path))


def test_a_truncated_model_is_refused(model: bytes, tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "b", "litert")
    (bundle.path / "model.tflite").write_bytes(model[: len(model) // 2])
    with pytest.raises(BundleError, match="LiteRT can't load it"):
        open_session(tiny.reseal(bundle.path))


def test_a_model_in_another_precision_than_the_manifest_says_is_not_opened(tmp_path: Path) -> None:
    bundle = tiny.reseal(tiny.build(tmp_path / "b", "litert").path, compute_precision="int8", weights_precision="int8")
    with pytest.raises(BackendError, match="its manifest says int8, its model computes in fp32"):
        open_session(bundle)


def test_a_model_that_stops_while_it_runs_is_refused_in_one_line(tmp_path: Path) -> None:
    with open_session(tiny.build(tmp_path / "b", "litert")) as session:
        engine: Any = session.check_usable()
        engine._input += 10**6  # as a damaged file may name a tensor that is not there
        with pytest.raises(BackendError, match="LiteRT can't run the model"):
            session(tiny.random_pixels(1))


def test_opening_prints_nothing(shared_bundle: Shared, capfd: Any) -> None:
    with open_session(shared_bundle("litert")) as session:
        session(tiny.random_pixels(2))
    assert capfd.readouterr() == ("", "")
