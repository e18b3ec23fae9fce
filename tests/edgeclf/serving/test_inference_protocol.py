"""The Open Inference Protocol: what is a request, what comes back, and that nothing else gets through."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf.serving.inference_protocol import (
    HEADER_LENGTH,
    InferRequest,
    model_metadata,
    parse_request,
    render_response,
)
from edgeclf_runtime.bundle.manifest import Manifest, TensorSpec, Thresholds
from edgeclf_runtime.errors import BackendError, UsageError
from edgeclf_runtime.metrics.energy import EnergyThreshold


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return tiny.build(tmp_path / "tiny").manifest


def float_manifest(tmp_path: Path) -> Manifest:
    spec = TensorSpec("pixels", "float32", "NCHW", ("batch", 3, 8, 8))
    return tiny.build(tmp_path / "float", inputs=(spec,)).manifest


def request(**changes: Any) -> dict[str, Any]:
    """One image of zeros, with changed fields of its tensor; None leaves a field out."""
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [0] * 192, **changes}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


def parse(value: Any, manifest: Manifest, header_length: str | None = None) -> InferRequest:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_request(body, header_length, manifest, 4)


def binary(array: np.ndarray[Any, Any], manifest: Manifest, **changes: Any) -> InferRequest:
    tensor = request(data=None, shape=list(array.shape), parameters={"binary_data_size": array.nbytes}, **changes)
    text = json.dumps(tensor).encode()
    return parse_request(text + array.tobytes(), str(len(text)), manifest, 4)


def test_metadata_say_what_the_model_takes_and_gives(manifest: Manifest) -> None:
    found = model_metadata(manifest, "tiny")
    assert found["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert found["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]
    plain = {"labels": list(tiny.LABELS), "scores": "softmax", "temperature": 1.0, "unknown_below": None}
    assert found["parameters"] == {**plain, "unknown_below_per_class": None, "unknown_below_energy": None}
    own = replace(
        manifest, temperature=2.0, thresholds=Thresholds(0.4, (0.5, 0.6, 0.7), EnergyThreshold(2.5, 0.01, 500))
    )
    about = model_metadata(own, "tiny")["parameters"]
    assert (about["temperature"], about["unknown_below"]) == (2.0, 0.4)
    assert (about["unknown_below_per_class"], about["unknown_below_energy"]) == ([0.5, 0.6, 0.7], 2.5)
    typed = model_metadata(own, "tiny", 0.9)["parameters"]
    assert (typed["unknown_below"], typed["unknown_below_per_class"]) == (0.9, None)
    assert typed["unknown_below_energy"] is None


def test_flat_nested_and_binary_data_are_the_same(manifest: Manifest) -> None:
    batch = tiny.random_pixels(2)
    flat = parse(request(shape=[2, 8, 8, 3], data=batch.ravel().tolist()), manifest)
    nested = parse(request(shape=[2, 8, 8, 3], data=batch.tolist()), manifest)
    for found in (flat, nested, binary(batch, manifest)):
        assert found.batch.dtype == np.uint8
        assert np.array_equal(found.batch, batch)


def test_floats_come_as_they_were_sent(tmp_path: Path) -> None:
    manifest = float_manifest(tmp_path)
    batch = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    changes = {"datatype": "FP32", "shape": [1, 3, 8, 8]}
    assert np.array_equal(parse(request(data=batch.ravel().tolist(), **changes), manifest).batch, batch)
    assert np.array_equal(binary(batch, manifest, datatype="FP32").batch, batch)
    with pytest.raises(UsageError, match="finite"):
        binary(np.full_like(batch, np.nan), manifest, datatype="FP32")
    with pytest.raises(UsageError, match="wanted numbers of"):
        parse(request(data=[1e300] * 192, **changes), manifest)


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b'{"inputs": [NaN]}', "NaN is no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"1" * 10_000, "no JSON"),
        (b"[]", "must be a JSON object"),
        ({}, "wanted one input"),
        ({"inputs": {}}, "wanted one input"),
        ({"inputs": [1]}, "the input must be a JSON object"),
        ({**request(), "id": 5}, "wanted a text as id"),
        ({**request(), "parameters": []}, "the request's parameters must be"),
        ({**request(), "parameters": {"binary_data_output": 1}}, "wanted true or false"),
        ({**request(), "outputs": [{"name": "other"}]}, "no output 'other'; the model has 'logits'"),
        (
            {**request(), "outputs": [{"name": "logits", "parameters": {"classification": 3}}]},
            "no 'classification' among the output's parameters; this service has binary_tensor_data",
        ),
        (request(parameters={"shared_memory_region": "a"}), "no 'shared_memory_region' among the input's parameters"),
        ({**request(), "outputs": [{"name": "logits"}] * 2}, "wanted the output 'logits' or none"),
        (request(name="image"), "wanted the input 'pixels' of UINT8"),
        (request(datatype="FP32"), "found 'pixels' of 'FP32'"),
        (request(shape=None), "wanted the shape [N, 8, 8, 3]"),
        (request(shape=[1, 8, 8]), "wanted the shape [N, 8, 8, 3]"),
        (request(shape=[0, 8, 8, 3]), "wanted the shape [N, 8, 8, 3]"),
        (request(shape=[True, 8, 8, 3]), "wanted the shape [N, 8, 8, 3]"),
        (request(shape=[1, 8, 8, 10**30]), "wanted the shape [N, 8, 8, 3]"),
        (request(shape=[5, 8, 8, 3]), "wanted a batch of at most 4, found 5; send it in parts"),
        (request(shape=[10**30, 8, 8, 3]), "wanted a batch of at most 4"),
        (request(data=None), "wanted a list of numbers"),
        (request(data="AAAA"), "wanted a list of numbers"),
        (request(data=[0] * 191), "wanted 192 numbers for the shape [1, 8, 8, 3], found 191"),
        (request(data=[[0, 1], [2]]), "wanted a list of numbers"),
        (request(data=[{}] * 192), "wanted a list of numbers"),
        (request(data=["x"] * 192), "wanted a list of numbers"),
        (request(data=[None] * 192), "wanted"),
        (request(data=[0.5] * 192), "wanted whole numbers for UINT8"),
        (request(data=[256] * 192), "wanted numbers of 0 to 255 for UINT8"),
        (request(data=[-1] * 192), "wanted numbers of 0 to 255 for UINT8"),
        (request(data=[10**400] * 192), "wanted"),
        (request(parameters={"binary_data_size": 192}), f"needs the header {HEADER_LENGTH}"),
    ],
)
def test_what_the_model_does_not_take_is_refused_in_a_sentence(body: Any, message: str, manifest: Manifest) -> None:
    with pytest.raises(UsageError) as error:
        parse(body, manifest)
    assert message in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "", "9" * 5000, "0" * 20 + "9" * 5000, "²", "1000000"])
def test_a_header_length_beyond_the_body_is_refused(length: str, manifest: Manifest) -> None:
    with pytest.raises(UsageError, match=f"{HEADER_LENGTH} is at most the body's"):
        parse(request(), manifest, length)


@pytest.mark.parametrize("size", [0, 191, 193, -1, "192", True])
def test_bytes_that_do_not_fit_are_refused(size: Any, manifest: Manifest) -> None:
    text = json.dumps(request(data=None, parameters={"binary_data_size": size})).encode()
    with pytest.raises(UsageError, match="wanted 192 bytes behind the JSON"):
        parse_request(text + bytes(192), str(len(text)), manifest, 4)


def test_a_huge_text_among_numbers_makes_no_huge_array(manifest: Manifest) -> None:
    import tracemalloc

    body = json.dumps(request(data=["x" * 1_000_000] + [0] * 5000)).encode()
    tracemalloc.start()
    with pytest.raises(UsageError):
        parse(body, manifest)
    assert tracemalloc.get_traced_memory()[1] < 20e6  # numpy's own text array would take 20 GB
    tracemalloc.stop()


def test_corrupted_requests_are_parsed_or_refused_and_nothing_else(manifest: Manifest) -> None:
    random = np.random.default_rng(0)
    whole = json.dumps({"id": "a", **request(), "outputs": [{"name": "logits"}]}).encode()
    for _ in range(2000):
        corrupted = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 6)):
            corrupted[place] = random.integers(0, 256)
        length = None if random.random() < 0.5 else str(random.integers(0, len(whole)))
        try:
            assert parse_request(bytes(corrupted), length, manifest, 4).batch.shape == (1, 8, 8, 3)
        except UsageError:
            continue


def test_responses_carry_the_id_and_the_outputs(manifest: Manifest) -> None:
    outputs = np.array([[0.1, -2.5, 3e-8]], dtype=np.float32)
    text, headers = render_response("tiny", manifest, InferRequest(outputs, "\ud800\n", False), outputs)
    found = json.loads(text)
    assert headers == {"Content-Type": "application/json"}
    assert (found["model_name"], found["model_version"], found["id"]) == ("tiny", "1", "\ud800\n")
    assert np.array_equal(np.float32(found["outputs"][0].pop("data")), outputs.ravel())
    assert found["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [1, 3]}]


def test_binary_outputs_come_after_their_json(manifest: Manifest) -> None:
    outputs = np.array([[0.1, -2.5, 3e-8]], dtype=np.float32)
    body, headers = render_response("tiny", manifest, InferRequest(outputs, None, True), outputs)
    length = int(headers[HEADER_LENGTH])
    described = json.loads(body[:length])["outputs"][0]
    assert described["parameters"]["binary_data_size"] == 12 == len(body) - length
    assert np.array_equal(np.frombuffer(body[length:], "<f4"), outputs.ravel())


@pytest.mark.parametrize("where", ["request", "output"])
def test_either_place_requests_a_binary_response(where: str, manifest: Manifest) -> None:
    body = request()
    if where == "request":
        body["parameters"] = {"binary_data_output": True}
    else:
        body["outputs"] = [{"name": "logits", "parameters": {"binary_data": True}}]
    assert parse(body, manifest).binary_output


def test_outputs_that_are_not_finite_are_an_error_of_the_engine(manifest: Manifest) -> None:
    outputs = np.array([[np.nan, 0, 0]], dtype=np.float32)
    with pytest.raises(BackendError, match="NaN or infinite"):
        render_response("tiny", manifest, InferRequest(outputs, None, False), outputs)
