"""Properties of what reads a bundle: whatever is in it, one kind of error says that it is no bundle."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from edgeclf_benchmarks.records.fuzz.odd_inputs import damaged, with_tar_checksums
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json, to_json
from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.bundle.manifest import parse_manifest
from edgeclf_runtime.errors import BundleError, DataError

words = st.text("aZ0._/\\ \0é€\ud800😀", max_size=5)  # hypothesis' own table of characters takes seconds to build
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
seeds = st.integers(0, 2**32).map(random.Random)


@dataclass(frozen=True)
class Part:
    name: str
    share: float | None = None


@dataclass(frozen=True)
class Whole:
    kind: Literal["a", "b"]
    count: int
    parts: tuple[Part, ...]
    named: dict[str, tuple[int, bool]]


@pytest.fixture(scope="module")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.build(tmp_path_factory.mktemp("any") / "bundle", "onnx")


@pytest.fixture(scope="module")
def packed(onnx_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(onnx_bundle, tmp_path_factory.mktemp("any") / "packed.tar")


def refuses(error: type[Exception], read: Callable[[], object]) -> None:
    """Any other error gets through."""
    with contextlib.suppress(error):
        read()


finite = st.floats(allow_nan=False, allow_infinity=False)
parts = st.builds(Part, words, st.none() | finite)
wholes = st.builds(
    Whole,
    st.sampled_from(["a", "b"]),
    st.integers(),
    st.lists(parts, max_size=3).map(tuple),
    st.dictionaries(words, st.tuples(st.integers(), st.booleans()), max_size=3),
)


@given(wholes)
def test_a_record_survives_json(value: Whole) -> None:
    assert from_json(Whole, parse_json(json.dumps(to_json(value))), "record") == value


@given(st.fixed_dictionaries({"kind": anything, "count": anything, "parts": anything}, optional={"named": anything}))
def test_any_json_is_a_record_or_a_data_error(value: Any) -> None:
    refuses(DataError, lambda: from_json(Whole, value, "record"))


@given(seeds, anything)
def test_any_value_anywhere_in_a_manifest_is_read_or_refused(onnx_bundle: Bundle, rng: random.Random, odd: Any) -> None:
    content = json.loads(onnx_bundle.manifest_bytes)
    del content["manifest_sha256"]
    holder: Any = content
    while True:
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not (isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.7):
            break
        holder = holder[key]
    holder[key] = odd
    data = json.dumps(content).encode()
    try:
        manifest = parse_manifest(data, "odd")
    except BundleError:
        return
    assert parse_manifest(manifest.to_bytes(), "odd") == manifest


@pytest.mark.parametrize("sealed", [True, False])
def test_a_manifest_nested_too_deeply_is_one_line(onnx_bundle: Bundle, sealed: bool) -> None:
    """Python's parser, its writer and its repr stop at different depths, all of them near the recursion limit."""
    content = {**json.loads(onnx_bundle.manifest_bytes), "labels": "@"}
    if not sealed:
        del content["manifest_sha256"]
    text = json.dumps(content)
    for depth in range(900, 1010):
        with pytest.raises(BundleError):
            parse_manifest(text.replace('"@"', "[" * depth + "]" * depth).encode(), "deep")


def test_json_of_any_file_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 200_000)


@given(seeds | st.binary())
def test_any_bytes_are_scanned_as_onnx_or_refused(onnx_bundle: Bundle, source: random.Random | bytes) -> None:
    data = source if isinstance(source, bytes) else damaged(source, [onnx_bundle.read("model.onnx")])
    refuses(BundleError, lambda: refuse_external_data(data, "odd"))


@given(seeds)
def test_a_damaged_tar_is_the_bundle_or_refused(packed: Path, rng: random.Random) -> None:
    odd = packed.with_name("odd.tar")
    odd.write_bytes(damaged(rng, [packed.read_bytes()], with_tar_checksums))
    refuses(BundleError, lambda: Bundle.open(odd).check_all())


@pytest.mark.parametrize("size", [b"\x80" + 3 * b"\0" + 8 * b"\xff", b"\xff" * 12])  # base 256: 2^64 - 1, and -1
def test_a_tar_with_a_member_of_an_impossible_size_is_refused(packed: Path, size: bytes) -> None:
    odd, content = packed.with_name("size.tar"), bytearray(packed.read_bytes())
    content[124:136] = size
    odd.write_bytes(with_tar_checksums(bytes(content)))
    with pytest.raises(BundleError, match=r"size\.tar"):
        Bundle.open(odd)


members = st.sampled_from(
    ["manifest.json", "model.onnx", "../out", "/out", "C:\\out", "a/../../out", "golden/x", "", "."]
)
kinds = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])


@given(st.lists(st.tuples(members, kinds), min_size=1, max_size=4))
def test_a_tar_with_members_outside_links_or_duplicates_is_refused(
    packed: Path, added: list[tuple[str, bytes]]
) -> None:
    odd = packed.with_name("added.tar")
    odd.write_bytes(packed.read_bytes())
    with tarfile.open(odd, "a") as archive:
        for name, kind in added:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member, io.BytesIO())
    with pytest.raises(BundleError):
        Bundle.open(odd)
