"""In what precision weights are stored is read back from the files, not claimed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.external_data import count_weights
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.session import stored_faults, stored_shares


def onnx_with(dtype: Any, *, quantizes: bool = False) -> bytes:
    """A graph of one matrix product whose (6, 4) weights are of `dtype`, with a bias, which does not count."""
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(np.ones((6, 4), dtype), "weight")
    bias = onnx.numpy_helper.from_array(np.ones(4, np.float32), "bias")
    node = onnx.helper.make_node("QuantizeLinear" if quantizes else "MatMul", ["weight", "x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [], [], [weight, bias])
    return bytes(onnx.helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(("dtype", "precision"), [(np.float32, "fp32"), (np.float16, "fp16"), (np.int8, "int8")])
def test_weights_of_an_onnx_file_are_counted_by_their_type(dtype: Any, precision: str) -> None:
    assert count_weights(onnx_with(dtype)) == {precision: 24}


def test_what_an_engine_quantizes_when_it_is_built_counts_as_int8_on_request() -> None:
    model = onnx_with(np.float16, quantizes=True)
    assert (count_weights(model), count_weights(model, quantized_later=True)) == ({"fp16": 24}, {"int8": 24})


@pytest.mark.parametrize("target", ["onnx", "openvino", "pytorch"])
def test_a_sound_bundle_stores_what_its_manifest_states(target: str, shared_bundle: Callable[[str], Bundle]) -> None:
    bundle = shared_bundle(target)
    assert (stored_shares(bundle), stored_faults(bundle)) == ({"fp32": 1.0}, ())


@pytest.mark.parametrize("target", ["onnx", "openvino", "pytorch"])
@pytest.mark.parametrize("claimed", ["fp16", "int8"])
def test_a_precision_that_is_only_claimed_fails_the_proof(target: str, claimed: str, tmp_path: Path) -> None:
    proof = verify(tiny.build(tmp_path / "bundle", target, weights_precision=claimed))
    assert proof.verdict == "fail"
    assert f"stored: the manifest says {claimed} weights, the files hold 100% fp32" in proof.reasons


def test_formats_with_one_precision_alone_are_not_read(bundle: Bundle) -> None:
    assert (bundle.manifest.target, stored_shares(bundle), stored_faults(bundle)) == ("reference", {}, ())


@pytest.mark.parametrize("header", [b"", b"\xff" * 8, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 5) + b"words"])
def test_a_damaged_safetensors_header_is_a_bundle_error(header: bytes, tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "bundle", "pytorch").path
    (folder / "model.safetensors").write_bytes(header)
    with pytest.raises(BundleError, match="no safetensors file"):
        stored_shares(tiny.reseal(folder))


def test_metadata_in_a_safetensors_header_is_no_weight(tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "bundle", "pytorch").path
    header = json.dumps({"__metadata__": {"a": "b"}, "w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(12))
    assert stored_shares(tiny.reseal(folder)) == {"bf16": 1.0}
