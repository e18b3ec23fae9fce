"""The proofs of a bundle: kept beside it, found again, and checked before it is used on this machine.

A record of schema 2 is bound to its machine (binding.py). Schema 1 was not: of its proofs only failed ones count.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.errors import DataError, GateError
from edgeclf_runtime.machine.binding import bind, binding_problem
from edgeclf_runtime.machine.facts import machine_facts, machine_id

if TYPE_CHECKING:
    from edgeclf_runtime.session import Session

SCHEMA = 2
_OF_FAST_PIXELS = ("pixels", "resizer")  # what `mode_facts` adds


class Opened(Protocol):
    """A Classifier or an Embedder. `facts` are those of its session and the mode of its pixels."""

    @property
    def facts(self) -> dict[str, str]: ...

    bundle: Bundle
    session: Session


@dataclass(frozen=True, slots=True)
class FoundProof:
    """A proof, where it lies and on which machine it was made; `problem`: why it shows nothing on this machine."""

    place: Literal["bundle", "beside"]
    machine: str
    proof: Proof | None
    problem: str | None = None

    @property
    def counts(self) -> bool:
        """A failed proof counts even where it is not bound: if wrongly, that costs one `edgeclf verify`."""
        return self.proof is not None and (self.problem is None or self.proof.verdict == "fail")


def save_proof(bundle: str | os.PathLike[str] | Bundle, proof: Proof) -> Path | None:
    """Writes the proof beside the bundle, one file a machine and precision; None where that place is read-only."""
    bundle = Bundle.open(bundle)
    own = proof.compute_precision == bundle.manifest.compute_precision
    name = machine_id(proof.machine) + ("" if own else f"-{proof.compute_precision}")
    destination = bundle.sidecar / f"{name}.json"
    record = bind({"schema": SCHEMA, "bundle": bundle.digest, "proof": to_json(proof)})
    try:
        with writing(destination, force=True) as draft:
            draft.write_text(json.dumps(record, indent=1) + "\n")
    except DataError:
        return None
    return destination


def find_proofs(bundle: Bundle) -> tuple[FoundProof, ...]:
    """The exporter's proof in the manifest, then those of other machines beside the bundle, by their ids."""
    found = []
    if (own := bundle.manifest.proof) is not None:
        found.append(FoundProof("bundle", machine_id(own.machine), own, _subject_problem(bundle.manifest)))
    found += [_read_proof(path, bundle.digest) for path in sorted(bundle.sidecar.glob("*.json"))]
    return tuple(found)


def _subject_problem(manifest: Manifest) -> str | None:
    """Why the proof inside the bundle is not about it; None: it is, or is older than the naming of subjects."""
    proof = manifest.proof
    if proof is None or (proof.subject is None and manifest.own is None) or proof.subject == manifest.subject:
        return None
    return "of another manifest: the bundle was changed after its proof"


def _read_proof(path: Path, digest: str) -> FoundProof:
    try:
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict) or record.get("schema") not in (1, SCHEMA):
            return FoundProof("beside", path.stem, None, f"no proof of schema 1 to {SCHEMA}")
        if record.get("bundle") != digest:
            return FoundProof("beside", path.stem, None, "of another bundle of this name")
        proof = from_json(Proof, record.get("proof"), path.name)
        return FoundProof("beside", machine_id(proof.machine), proof, binding_problem(record))
    except (OSError, ValueError, RecursionError, DataError) as error:
        return FoundProof("beside", path.stem, None, f"unreadable: {error}")


def newest_proof(opened: Opened) -> Proof | None:
    """The newest proof of this machine, engine, precision and pixel mode that counts; None: there is none.

    A proof beside the bundle is newer than the exporter's, and one that is bound to this machine than one that is not.
    """
    return _newest_here(opened, machine_facts())


def _newest_here(opened: Opened, machine: Mapping[str, str]) -> Proof | None:
    return _newest(opened, machine_id({**machine, **opened.facts}), opened.session.compute_precision)


def _newest(opened: Opened, machine: str, compute_precision: str) -> Proof | None:
    by_age = [
        (
            (each.place == "beside", each.problem is None, each.proof.created_utc, each.proof.verdict == "fail"),
            each.proof,
        )
        for each in find_proofs(opened.bundle)
        if each.proof is not None and each.counts and each.machine == machine
        if each.proof.compute_precision == compute_precision
    ]
    return max(by_age, key=lambda each: each[0], default=(None, None))[1]


def _decisive_proof(opened: Opened) -> Proof | None:
    """As `newest_proof`, but where exact pixels in the bundle's own precision failed, every other way stops, too.

    Unless decoding alone failed, which another way does otherwise.
    """
    machine = machine_facts()
    exact = {key: value for key, value in opened.facts.items() if key not in _OF_FAST_PIXELS}
    plain = _newest(opened, machine_id({**machine, **exact}), opened.bundle.manifest.compute_precision)
    if plain is not None and plain.verdict == "fail" and not all(r.startswith("decoding: ") for r in plain.reasons):
        return plain
    return _newest_here(opened, machine)


def require_no_failed_proof(opened: Opened, warn: Callable[[str], None], *, unproven: bool = False) -> Proof | None:
    """This machine's newest proof, None where there is none. One that is inconclusive is reported to `warn`.

    Raises GateError where it failed; with `unproven` that is reported, too.
    """
    proof, path = _decisive_proof(opened), opened.bundle.path
    if proof is None or proof.verdict == "pass":
        return proof
    reasons = proof.reasons[0] if proof.reasons else "no reason is kept"
    if len(proof.reasons) > 1:
        reasons += f" (and {len(proof.reasons) - 1} more: edgeclf verify lists them)"
    if proof.verdict == "inconclusive":
        warn(f"INCONCLUSIVE: the proof of {path} on this machine: {reasons}")
        return proof
    failed = f"{path} failed its proof on this machine ({proof.created_utc[:10]}): {reasons}"
    if not unproven:
        again = _command(opened.bundle, proof.compute_precision, proof.machine)
        raise GateError(f"{failed}; once that is fixed run {again}, or give --allow-failed-proof to use it as it is")
    warn(f"FAILED: {failed}; used all the same, because of --allow-failed-proof")
    return proof


def verify_command(opened: Opened) -> str:
    """The command that makes the proof of what is opened."""
    return _command(opened.bundle, opened.session.compute_precision, opened.facts)


def _command(bundle: Bundle, compute_precision: str, facts: Mapping[str, str]) -> str:
    words = ["edgeclf", "verify", str(bundle.path)]
    if compute_precision != bundle.manifest.compute_precision:
        words += ["--compute-precision", compute_precision]
    if facts.get("pixels") == "fast":
        words += ["--pixels", "fast"]
    return shlex.join(words)
