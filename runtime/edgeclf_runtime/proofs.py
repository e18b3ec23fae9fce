"""The proofs of a bundle: kept beside it, found again, and checked before it is used on this machine.

A record of schema 2 is bound to its machine (binding.py). Schema 1 was not: of its proofs only failed ones count.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from edgeclf_runtime.binding import bind, binding_problem
from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.errors import DataError, GateError
from edgeclf_runtime.machine import machine_facts, machine_id
from edgeclf_runtime.proof import Proof
from edgeclf_runtime.records import from_json, to_json
from edgeclf_runtime.writer import writing

if TYPE_CHECKING:
    from edgeclf_runtime.session import Session

SCHEMA = 2


class Opened(Protocol):
    """A Classifier or an Embedder. `facts` are those of its session and the mode of its pixels."""

    @property
    def facts(self) -> dict[str, str]: ...

    bundle: Bundle
    session: Session


@dataclass(frozen=True, slots=True)
class FoundProof:
    """A proof, where it lies and on which machine it was made; `problem` says why it shows nothing on this machine."""

    place: Literal["bundle", "beside"]
    machine: str
    proof: Proof | None
    problem: str | None = None

    @property
    def counts(self) -> bool:
        """A failed proof counts even where it is not bound: if wrongly, that costs one `edgeclf verify`."""
        return self.proof is not None and (self.problem is None or self.proof.verdict == "fail")


def save_proof(bundle: Bundle, proof: Proof) -> Path | None:
    """Writes the proof beside the bundle, one file a machine and precision; None where that place is read-only."""
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
        found.append(FoundProof("bundle", machine_id(own.machine), own))
    found += [_read_proof(path, bundle.digest) for path in sorted(bundle.sidecar.glob("*.json"))]
    return tuple(found)


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

    A proof beside the bundle is newer than the exporter's.
    """
    here = machine_id({**machine_facts(), **opened.facts})
    found = [(each.place, each.proof) for each in find_proofs(opened.bundle) if each.counts and each.machine == here]
    by_age = [
        ((place == "beside", proof.created_utc, proof.verdict == "fail"), proof)
        for place, proof in found
        if proof is not None and proof.compute_precision == opened.session.compute_precision
    ]
    return max(by_age, key=lambda each: each[0], default=(None, None))[1]


def require_no_failed_proof(opened: Opened, warn: Callable[[str], None], *, unproven: bool = False) -> Proof | None:
    """This machine's newest proof, None where there is none. One that is inconclusive is reported to `warn`.

    Raises GateError where it failed; with `unproven` that is reported, too.
    """
    proof, path = newest_proof(opened), opened.bundle.path
    if proof is None or proof.verdict == "pass":
        return proof
    reasons = "; ".join(proof.reasons)
    if proof.verdict == "inconclusive":
        warn(f"INCONCLUSIVE: the proof of {path} on this machine: {reasons}")
        return proof
    failed = f"{path} failed its proof on this machine ({proof.created_utc[:10]}): {reasons}"
    if not unproven:
        again = verify_command(opened)
        raise GateError(f"{failed}; once that is fixed run {again}, or give --unproven to use it as it is")
    warn(f"FAILED: {failed}; used all the same, as --unproven asks")
    return proof


def verify_command(opened: Opened) -> str:
    """The command that makes the proof of what is opened."""
    words = ["edgeclf", "verify", str(opened.bundle.path)]
    if opened.session.compute_precision != opened.bundle.manifest.compute_precision:
        words += ["--compute-precision", opened.session.compute_precision]
    if opened.facts.get("pixels") == "fast":
        words += ["--pixels", "fast"]
    return shlex.join(words)
