"""Properties of the inference protocol's parser: whatever the body, a batch that fits, or a UsageError (status 400)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from edgeclf.serving.inference_protocol import parse_request
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.errors import UsageError

words = st.text("aZ0._ \0é\ud800😀", max_size=5)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
sizes = st.sampled_from([[1, 8, 8, 3], [2, 8, 8, 3], [9, 8, 8, 3], [0, 8, 8, 3], [1 << 62, 8, 8, 3], [1, 8, 8], []])
tensors = st.fixed_dictionaries(
    {
        "name": st.just("pixels") | anything,
        "datatype": st.just("UINT8") | anything,
        "shape": sizes | anything,
    },
    optional={
        "data": st.just([0] * 192) | st.lists(st.integers(-1, 256), min_size=192, max_size=192) | anything,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.sampled_from([192, 384, 0]) | anything}) | anything,
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2) | anything},
    optional={"id": anything, "outputs": anything, "parameters": anything},
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return tiny.build(tmp_path_factory.mktemp("any") / "bundle").manifest


def check(body: bytes, header: str | None, manifest: Manifest) -> None:
    try:
        found = parse_request(body, header, manifest, 8)
    except UsageError:
        return
    assert found.batch.shape[1:] == (8, 8, 3) and 1 <= len(found.batch) <= 8 and found.batch.dtype == "uint8"


@given(requests, st.none() | st.sampled_from([b"", bytes(192), bytes(384)]))
def test_any_request_is_a_batch_that_fits_or_a_usage_error(manifest: Manifest, asked: Any, raw: bytes | None) -> None:
    text = json.dumps(asked).encode()
    check(text + (raw or b""), None if raw is None else str(len(text)), manifest)


@given(st.binary(), st.none() | st.integers().map(str) | words)
def test_any_bytes_and_any_header_are_a_usage_error(manifest: Manifest, body: bytes, header: str | None) -> None:
    with pytest.raises(UsageError):
        parse_request(body, header, manifest, 8)


@pytest.mark.parametrize("depth", range(960, 1010, 7))
@pytest.mark.parametrize("place", ["id", "data", "shape", "parameters"])
def test_a_request_nested_too_deeply_is_a_usage_error(manifest: Manifest, depth: int, place: str) -> None:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [0] * 192, place: "@"}
    text = json.dumps({"inputs": [tensor], place: "@"}).replace('"@"', "[" * depth + "]" * depth)
    with pytest.raises(UsageError):
        parse_request(text.encode(), None, manifest, 8)
