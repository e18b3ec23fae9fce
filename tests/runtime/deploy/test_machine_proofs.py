"""Proofs beside a bundle: a failed one is not a missing one, and one that is not of this machine shows nothing here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny

from edgeclf_runtime.bundle.atomic_write import seal_proven
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.machine_proofs import (
    find_proofs,
    newest_proof,
    require_no_failed_proof,
    save_proof,
    verify_command,
)
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import GateError
from edgeclf_runtime.machine import binding
from edgeclf_runtime.machine.facts import machine_id

Record = dict[str, Any]


@pytest.fixture
def passed(bundle: Bundle) -> Proof:
    return verify(bundle)


@pytest.fixture
def failed(passed: Proof) -> Proof:
    return replace(passed, verdict="fail", reasons=("engine: logits differ",))


def verdict_here(bundle: Bundle) -> str | None:
    with Classifier.open(bundle) as classifier:
        found = newest_proof(classifier)
    return None if found is None else found.verdict


def check(bundle: Bundle, warn: Callable[[str], None], *, unproven: bool = False) -> Proof | None:
    with Classifier.open(bundle) as classifier:
        return require_no_failed_proof(classifier, warn, unproven=unproven)


def edit(place: Path | None, change: Callable[[Record], object]) -> None:
    assert place is not None
    record = json.loads(place.read_text())
    change(record)
    place.write_text(json.dumps(record))


def copied_to_schema_1(record: Record) -> None:
    """What an older edgeclf wrote."""
    record["schema"] = 1
    del record["bound_to"], record["hmac_sha256"]


def test_the_newest_proof_of_this_machine_counts_whatever_its_verdict(
    bundle: Bundle, passed: Proof, failed: Proof
) -> None:
    assert verdict_here(bundle) is None
    for proof in (passed, failed, replace(passed, verdict="inconclusive"), failed, passed):
        save_proof(bundle, proof)
        assert verdict_here(bundle) == proof.verdict


def test_of_two_files_of_this_machine_the_newer_counts(bundle: Bundle, passed: Proof, failed: Proof) -> None:
    older = save_proof(bundle, replace(failed, created_utc="2026-01-01T00:00:00Z"))
    assert older is not None
    shutil.copy(older, older.with_name("zzz.json"))
    save_proof(bundle, replace(passed, created_utc="2026-01-02T00:00:00Z"))
    assert verdict_here(bundle) == "pass"
    save_proof(bundle, replace(passed, created_utc="2025-01-02T00:00:00Z"))
    assert verdict_here(bundle) == "fail"


def test_a_failed_proof_beside_the_bundle_outranks_the_pass_in_it(bundle: Bundle, passed: Proof, failed: Proof) -> None:
    seal_proven(bundle.path, bundle.manifest, replace(passed, created_utc="2999-01-01T00:00:00Z"))
    exported = Bundle.open(bundle.path)
    assert verdict_here(exported) == "pass"
    save_proof(exported, failed)
    assert verdict_here(exported) == "fail"


def test_the_proof_in_a_bundle_shows_nothing_about_a_manifest_that_was_changed_after_it(
    bundle: Bundle, passed: Proof
) -> None:
    seal_proven(bundle.path, bundle.manifest, passed)
    assert verdict_here(Bundle.open(bundle.path)) == "pass"
    changed = tiny.reseal(bundle.path, labels=tuple(reversed(tiny.LABELS)))
    assert verdict_here(changed) is None
    assert "changed after its proof" in str(find_proofs(changed)[0].problem)


def test_each_precision_has_a_proof_of_its_own(bundle: Bundle, passed: Proof, failed: Proof) -> None:
    """As `verify --compute-precision` makes them."""
    save_proof(bundle, failed)
    save_proof(bundle, replace(passed, compute_precision="bf16"))
    assert verdict_here(bundle) == "fail"
    save_proof(bundle, passed)
    save_proof(bundle, replace(failed, compute_precision="bf16"))
    assert verdict_here(bundle) == "pass"


def test_a_proof_of_other_files_of_another_engine_or_mode_shows_nothing(bundle: Bundle, failed: Proof) -> None:
    place = save_proof(bundle, failed)
    other = tiny.reseal(bundle.path, temperature=2.0)
    assert verdict_here(other) is None
    assert place is not None
    place.unlink()
    for change in ({"engine_version": "0"}, {"pixels": "fast"}):
        save_proof(other, replace(failed, machine={**failed.machine, **change}))
    assert verdict_here(other) is None


def test_a_failed_proof_stops_before_anything_is_predicted(bundle: Bundle, failed: Proof) -> None:
    save_proof(bundle, failed)
    warned: list[str] = []
    with pytest.raises(GateError, match=r"failed its proof.*logits differ.*edgeclf verify .*--allow-failed-proof"):
        check(bundle, warned.append)
    assert warned == []
    assert check(bundle, warned.append, unproven=True) == failed
    (sentence,) = warned
    assert sentence.startswith("FAILED") and "logits differ" in sentence


def test_an_inconclusive_proof_is_reported_with_its_reasons_and_goes_on(bundle: Bundle, passed: Proof) -> None:
    save_proof(bundle, replace(passed, verdict="inconclusive", reasons=("engine: 3 images are too few",)))
    warned: list[str] = []
    assert check(bundle, warned.append) is not None
    assert [("INCONCLUSIVE" in each, "3 images are too few" in each) for each in warned] == [(True, True)]


def test_a_pass_and_a_missing_proof_are_not_reported(bundle: Bundle, passed: Proof) -> None:
    warned: list[str] = []
    assert check(bundle, warned.append) is None
    save_proof(bundle, passed)
    assert check(bundle, warned.append) == passed
    assert warned == []


def of_another_cpu(proof: Proof) -> Proof:
    return replace(proof, machine={**proof.machine, "cpu": "another CPU"})


def test_another_machines_proof_whose_cpu_was_edited_to_this_ones_does_not_count(
    bundle: Bundle, passed: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setattr(binding, "machine_identifiers", lambda: {"machine-id": "0" * 32})
        place = save_proof(bundle, of_another_cpu(passed))
    edit(place, lambda record: record["proof"]["machine"].update(cpu=passed.machine["cpu"]))
    (found,) = find_proofs(bundle)
    assert found.machine == machine_id(passed.machine)
    assert found.problem is not None and "another machine" in found.problem
    assert verdict_here(bundle) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["proof"]["machine"].update(pillow="0"),
        lambda record: record["proof"].update(created_utc="2999-01-01T00:00:00Z"),
        lambda record: record["proof"]["comparison"].update(flips=0, images=10_000),
        lambda record: record["bound_to"].update(source="machine-id and serial number, surely"),
        lambda record: record.update(hmac_sha256="0" * 64),
        lambda record: record.update(hmac_sha256="ünknown"),
        lambda record: record.pop("hmac_sha256"),
        lambda record: record.update(bound_to=None),
        lambda record: record.update(remark="added"),
    ],
)
def test_an_edited_pass_does_not_count(change: Callable[[Record], object], bundle: Bundle, passed: Proof) -> None:
    place = save_proof(bundle, passed)
    assert [each.problem for each in find_proofs(bundle)] == [None]
    edit(place, change)
    assert all(each.problem for each in find_proofs(bundle))
    assert verdict_here(bundle) is None


def test_a_failed_proof_edited_to_a_pass_does_not_count(bundle: Bundle, failed: Proof) -> None:
    edit(save_proof(bundle, failed), lambda record: record["proof"].update(verdict="pass"))
    (found,) = find_proofs(bundle)
    assert found.problem is not None and "changed since it was made" in found.problem
    assert verdict_here(bundle) is None


def test_a_proof_copied_from_another_machine_of_the_same_hardware_does_not_count(
    bundle: Bundle, passed: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "machine_identifiers", lambda: {"machine-id": "0" * 32})
    save_proof(bundle, passed)
    assert verdict_here(bundle) == "pass"
    monkeypatch.setattr(binding, "machine_identifiers", lambda: {"machine-id": "1" * 32})
    assert verdict_here(bundle) is None


def test_old_proofs_that_were_not_bound_count_only_where_they_failed(
    bundle: Bundle, passed: Proof, failed: Proof
) -> None:
    edit(save_proof(bundle, passed), copied_to_schema_1)
    (found,) = find_proofs(bundle)
    assert found.proof == passed and found.problem is not None and "not bound" in found.problem
    assert verdict_here(bundle) is None
    edit(save_proof(bundle, failed), copied_to_schema_1)
    assert verdict_here(bundle) == "fail"


def test_the_record_names_what_it_is_bound_to_and_holds_no_identifier(
    bundle: Bundle, passed: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/etc/machine-id": f"{'5e' * 16}\n", "/proc/device-tree/serial-number": "1421323012345\0"}
    monkeypatch.setattr(binding, "_read", lambda path: files[path].strip("\0\n "))
    place = save_proof(bundle, passed)
    assert place is not None
    text = place.read_text()
    assert json.loads(text)["bound_to"]["source"] == "machine-id and serial number"
    assert "5e" * 16 not in text and "1421323012345" not in text


@pytest.mark.parametrize("content", ["", "uninitialized", "b08dfa6083e7567a1921a715000001f"])
def test_without_an_identifier_the_hardware_is_the_key_and_the_record_names_it(
    content: str, bundle: Bundle, passed: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "_read", lambda path: content if path == "/etc/machine-id" else "")
    place = save_proof(bundle, passed)
    assert place is not None
    assert json.loads(place.read_text())["bound_to"]["source"] == "hardware facts"
    assert verdict_here(bundle) == "pass"
    monkeypatch.setattr(binding.machine, "cpu_model", lambda: "another CPU")
    assert all(each.problem for each in find_proofs(bundle))


def test_each_identifier_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for found in ({"machine-id": "0" * 32}, {"machine-id": "1" * 32}, {"serial number": "0" * 32}, {}):
        monkeypatch.setattr(binding, "machine_identifiers", lambda found=found: found)
        names.add(binding.machine_key().name)
        assert binding.machine_key() == binding.machine_key()
    assert len(names) == 4


def test_the_command_that_makes_a_proof_names_what_is_not_the_bundles_own(bundle: Bundle) -> None:
    with Classifier.open(bundle) as classifier:
        assert verify_command(classifier) == f"edgeclf verify {bundle.path}"
    with Classifier.open(bundle, mode="fast") as classifier:
        classifier.session.compute_precision = "bf16"
        assert verify_command(classifier) == f"edgeclf verify {bundle.path} --compute-precision bf16 --pixels fast"


def test_exact_pixels_that_failed_stop_fast_ones_too(bundle: Bundle, failed: Proof) -> None:
    save_proof(bundle, failed)
    with Classifier.open(bundle, mode="fast") as classifier, pytest.raises(GateError, match="failed its proof"):
        require_no_failed_proof(classifier, lambda line: None)


def test_exact_pixels_that_are_decoded_otherwise_do_not_stop_fast_ones(bundle: Bundle, failed: Proof) -> None:
    save_proof(bundle, replace(failed, reasons=("decoding: 1 images come out up to 1 levels off",)))
    with Classifier.open(bundle, mode="fast") as classifier:
        assert require_no_failed_proof(classifier, lambda line: None) is None


def test_a_pass_made_here_outranks_a_failed_proof_that_is_not_bound_to_this_machine(
    bundle: Bundle, passed: Proof, failed: Proof
) -> None:
    place = save_proof(bundle, replace(failed, created_utc="2999-01-01T00:00:00Z"))
    edit(place, copied_to_schema_1)
    assert place is not None
    place.rename(place.with_name("copied.json"))
    assert verdict_here(bundle) == "fail"
    save_proof(bundle, passed)
    assert verdict_here(bundle) == "pass"


def test_many_reasons_are_one_and_a_count(bundle: Bundle, failed: Proof) -> None:
    save_proof(bundle, replace(failed, reasons=("engine: logits differ", "stored: other", "predictions: other")))
    with pytest.raises(GateError, match=r"engine: logits differ \(and 2 more: edgeclf verify lists them\);"):
        check(bundle, lambda line: None)
