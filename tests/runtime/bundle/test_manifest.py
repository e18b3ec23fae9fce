"""The manifest: nothing is lost on the way to JSON and back, and each kind of damage has one clear error."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

from edgeclf_runtime.bundle import manifest as manifest_module
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.bundle.manifest import (
    Calibration,
    Manifest,
    Normalization,
    TensorSpec,
    Thresholds,
    check_member_path,
    parse_manifest,
)
from edgeclf_runtime.bundle.proof import Comparison, Proof
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.errors import BundleError, DataError
from edgeclf_runtime.images.pixels import Pixels


@pytest.fixture
def manifest(bundle: Bundle) -> Manifest:
    """A manifest with every optional field filled."""
    comparison = Comparison(8, 1e-6, 0.99999, 1e-9, 1e-8, 1.0, 1, 0, 0)
    tolerances = bundle.manifest.tolerances
    proof = Proof(
        "inconclusive",
        ("few",),
        comparison,
        tolerances,
        "golden images",
        "ab",
        ("a.jpg",),
        3,
        "fp32",
        {"cpu": "x"},
        "now",
    )
    return replace(
        bundle.manifest,
        labels=("żółć\ud800", "a, b", "<script>"),
        pixels=Pixels("fit", (9, 8), (8, 8), "lanczos", (1, 2, 3), (4, 5, 6), (0.0, 4095.0)),
        thresholds=Thresholds(0.5, (0.1, 0.2, 0.3)),
        calibration=Calibration("min-max", 300, "cd"),
        proof=proof,
        built_on={"gpu": "Orin"},
        derived_from="ef",
        temperature=1.7,
    )


def broken(manifest: Manifest, *path: str | int, value: Any = None, drop: bool = False) -> bytes:
    """The manifest's JSON with one place changed or dropped."""
    content = json.loads(manifest.to_bytes())
    del content["manifest_sha256"]
    place = content
    for step in path[:-1]:
        place = place[step]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(content).encode()


def test_a_full_manifest_survives_the_round_trip(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    assert parse_manifest(data, "m") == manifest
    assert parse_manifest(data, "m").to_bytes() == data
    assert data.isascii()


def test_a_changed_character_that_leaves_valid_json_is_found(manifest: Manifest) -> None:
    data = manifest.to_bytes().replace(b"1.7", b"1.9")
    assert json.loads(data)["temperature"] == 1.9
    with pytest.raises(BundleError, match="changed since the export"):
        parse_manifest(data, "m")


def test_another_layout_of_the_same_json_is_the_same_manifest(manifest: Manifest) -> None:
    data = json.dumps(json.loads(manifest.to_bytes()), sort_keys=True).encode()
    assert parse_manifest(data, "m") == manifest


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\x89PNG\r\n", "not JSON"),
        (b'{"schema": 1, ', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no edgeclf manifest"),
        (b'{"task": "classify"}', "no edgeclf manifest"),
        (b'{"schema": true}', "no edgeclf manifest"),
        (b'{"schema": 2}', "schema 2, this edgeclf reads schema 1; update edgeclf"),
        (b'{"schema": 0}', "export the bundle again"),
        (b'{"schema": 1}', "the field '.*' is missing"),
    ],
)
def test_what_is_no_manifest_is_reported_as_such(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse_manifest(data, "manifest.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("colour",), 1, r"unknown field 'colour'"),
        (("pixels", "shear"), 1, r"m\.pixels: unknown field 'shear'"),
        (("task",), "segment", r"m\.task: wanted one of classify"),
        (("labels",), "leaf", r"m\.labels: wanted a list"),
        (("labels", 0), 7, r"m\.labels\[0\]: wanted str"),
        (("labels",), ["a", "a", "b"], "labels repeat"),
        (("labels",), ["a", "b"], "2 labels for 3 classes"),
        (("temperature",), 0, "temperature must be above 0"),
        (("temperature",), float("nan"), "wanted a finite number"),
        (("tolerances", "relative"), float("nan"), r"m\.tolerances\.relative: wanted a finite number"),
        (("tolerances", "kl"), float("inf"), r"m\.tolerances\.kl: wanted a finite number"),
        (("tolerances", "kl"), 10**400, "not JSON|wanted a finite number"),
        (("tolerances", "kl"), True, "wanted float"),
        (("thresholds", "per_class"), [0.5], "1 thresholds for 3 labels"),
        (("inputs",), [], "at least one input"),
        (("outputs",), [], "at least one input and one output"),
        (("inputs", 0, "shape"), [1, 8, 8], "does not fit the shape"),
        (("inputs", 0, "shape"), [0, 8, 8, 3], "at least one"),
        (("inputs", 0, "shape"), [1.5, 8, 8, 3], r"shape\[0\]: wanted int"),
        (("pixels", "crop_px"), [8], "wanted 2 items, found 1"),
        (("pixels", "crop_px"), [0, 8], r"m\.pixels: sizes must lie in"),
        (("normalization", "std"), [0.1, 0.0, 0.1], "std must be above 0"),
        (("files",), [], r"m\.files: wanted an object"),
        (("files", "model.npz"), {"sha256": "x"}, "the field 'bytes' is missing"),
        (("files", "../evil"), {"sha256": "x", "bytes": 1}, "does not stay inside the bundle"),
        (("files", "/etc/passwd"), {"sha256": "x", "bytes": 1}, "does not stay inside the bundle"),
        (("provenance",), None, r"m\.provenance: wanted an object"),
    ],
)
def test_a_wrong_field_is_named_with_its_place(
    manifest: Manifest, path: tuple[str | int, ...], value: Any, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        parse_manifest(broken(manifest, *path, value=value), "m")


@pytest.mark.parametrize("name", ["task", "inputs", "pixels", "tolerances", "golden", "reference"])
def test_a_missing_field_is_named(manifest: Manifest, name: str) -> None:
    with pytest.raises(BundleError, match=f"the field '{name}' is missing"):
        parse_manifest(broken(manifest, name, drop=True), "m")


@pytest.mark.parametrize("path", ["", ".", "a/../b", "..", "/a", "a//b", "./a", "a/", "a\\b", "a\0b"])
def test_member_paths_that_leave_the_bundle_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="does not stay inside"):
        check_member_path(path)


def test_member_paths_may_hold_folders_and_any_letters() -> None:
    for path in ("model.onnx", "golden/00 ż.jpg", "a/b/c", "..a"):
        check_member_path(path)


def test_normalization_by_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="std must be above 0"):
        Normalization((0.5, 0.5, 0.5), (float("nan"), 1.0, 1.0))


def test_a_named_batch_is_not_fixed() -> None:
    assert TensorSpec("x", "uint8", "NHWC", ("batch", 8, 8, 3)).fixed_batch is None
    assert TensorSpec("x", "uint8", "NHWC", (4, 8, 8, 3)).fixed_batch == 4


@dataclass(frozen=True)
class Sample:
    number: float
    choice: Literal["a", "b"]
    pair: tuple[int, str]
    many: tuple[int, ...] = ()
    maybe: dict[str, int] | None = None


def test_records_keep_types_and_order() -> None:
    sample = Sample(1.5, "b", (1, "x"), (3, 2, 1), {"z": 1, "a": 2})
    assert from_json(Sample, json.loads(json.dumps(to_json(sample))), "s") == sample
    assert from_json(Sample, {"number": 2, "choice": "a", "pair": [1, "x"]}, "s").number == 2.0


@pytest.mark.parametrize(
    "change", [{"number": "1"}, {"choice": ["a"]}, {"pair": [1]}, {"many": [1, None]}, {"maybe": {"a": 1.0}}]
)
def test_records_refuse_other_types(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"s[.]{next(iter(change))}"):
        from_json(Sample, {"number": 1.0, "choice": "a", "pair": [1, "x"], **change}, "s")


def test_fields_that_were_added_later_leave_the_subject_of_older_proofs_as_it_was(manifest: Manifest) -> None:
    used = replace(manifest, provenance=replace(manifest.provenance, test_uses=("a", "b")))
    assert used.subject == manifest.subject
    assert manifest.temperature_fit is None and replace(manifest, temperature=0.5).subject != manifest.subject
    content = to_json(replace(manifest, proof=None, built_on=None))
    del content["provenance"]["test_uses"], content["provenance"]["teacher"], content["temperature_fit"]
    for each in content["candidates"]:
        del each["temperature_fit"], each["energy"]
    del content["thresholds"]["energy"], content["thresholds"]["features"], content["features"]
    packed = json.dumps(content, sort_keys=True)
    assert "temperature_fit" not in packed and "test_uses" not in packed and "energy" not in packed
    assert manifest_module._content_sha256(content) == manifest.subject


def test_a_manifest_says_who_taught_the_model_and_nothing_where_nobody_did(manifest: Manifest) -> None:
    assert b"teacher" not in manifest.to_bytes()
    info = TeacherInfo(name="big", kind="run", sha256="ab" * 32, top1=0.9, images=20)
    taught = replace(manifest, provenance=replace(manifest.provenance, teacher=info))
    assert parse_manifest(taught.to_bytes(), "manifest.json") == taught and taught.subject != manifest.subject
