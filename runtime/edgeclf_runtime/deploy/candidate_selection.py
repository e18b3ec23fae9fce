"""Which of a bundle's models this machine takes: each is proven here, timed beside the others, and the fastest kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import seal, seal_proven, writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.bundle.quantization_report import in_a_path
from edgeclf_runtime.deploy.build_result import Outcome, beside
from edgeclf_runtime.deploy.candidates import TimeCalls, models_of, options_for, race, with_candidate, write_files
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, GateError
from edgeclf_runtime.progress import Progress


def build_fastest(
    bundle: Bundle,
    place: Path,
    build_one: Callable[[Bundle, Path], Outcome],
    options: SessionOptions,
    *,
    progress: Progress,
    time: TimeCalls,
) -> Outcome:
    """An engine of each of a portable bundle's models, in a bundle of its own; the fastest that passes is returned."""
    outcomes: dict[str, Outcome] = {}
    remarks: list[str] = []
    for name, model in models_of(bundle).items():
        own = place if not outcomes and not remarks else place.with_name(f"{place.name}-{in_a_path(name)}")
        try:
            outcomes[name] = build_one(model, own)
        except GateError as error:
            remarks.append(f"{name} fails here and is left out: {error}")
    if not outcomes:
        raise GateError(f"{bundle.path}: no model of it passes on this machine; {'; '.join(remarks)}")
    baseline = "fp32" if "fp32" in outcomes else next(iter(outcomes))
    timed = race({name: outcome.bundle for name, outcome in outcomes.items()}, baseline, options, time)
    chosen = timed.fastest()
    remarks += [
        f"{name}: {speed.median_ms:.2f} ms, {1 / speed.ratio:.2f} x {baseline}, in {outcomes[name].bundle.path}"
        for name, speed in timed.speeds.items()
    ]
    progress.note(f"{chosen} is the fastest that holds here: {outcomes[chosen].bundle.path}")
    outcome = outcomes[chosen]
    return replace(outcome, median_ms=timed.speeds[chosen].median_ms, remarks=(*outcome.remarks, *remarks))


def choose_candidate(
    bundle: Bundle,
    options: SessionOptions,
    destination: Path | None,
    *,
    force: bool,
    progress: Progress,
    time: TimeCalls,
) -> Outcome:
    """The fastest of the bundle's models here, of those that pass on this machine; a new bundle where it is another."""
    bundle.check_all()
    models = models_of(bundle)
    own = next(iter(models))
    progress.note(f"{bundle.path} holds {len(models)} models ({', '.join(models)}); verifying and timing each here")
    proofs: dict[str, Proof] = {}
    remarks: tuple[str, ...] = ()
    for name, model in models.items():
        try:
            proofs[name] = verify(model, options_for(model, options))
        except BackendError as error:  # bf16 on a CPU that has none
            remarks += (f"{name} does not run here and is left out: {error}",)
            continue
        if proofs[name].verdict == "fail":
            remarks += (f"{name} fails here and is left out: {'; '.join(proofs[name].reasons)}",)
    passed = {name: models[name] for name, proof in proofs.items() if proof.verdict != "fail"}
    if not passed:
        raise GateError(f"{bundle.path}: no model of it passes on this machine; {'; '.join(remarks)}")
    baseline = "fp32" if "fp32" in passed else next(iter(passed))
    timed = race(passed, baseline, options, time)
    chosen = timed.fastest()
    remarks += tuple(
        f"{name}: {speed.median_ms:.2f} ms, {1 / speed.ratio:.2f} x {baseline}" for name, speed in timed.speeds.items()
    )
    latency = timed.speeds[chosen].median_ms
    if chosen == own:
        progress.note(f"{own}, which the bundle has chosen, is the fastest that holds here too")
        return Outcome(bundle, False, proofs[own], save_proof(bundle, proofs[own]), latency, remarks=remarks)
    place = destination or beside(bundle) / f"{bundle.name}-{in_a_path(chosen)}"
    progress.note(f"{chosen} is the fastest that holds here: it becomes {place.name}")
    why = f"chosen on the device: {1 / timed.speeds[chosen].ratio:.2f} x {baseline} there (noise {timed.noise:.0%})"
    candidate = next(each for each in bundle.manifest.candidates if each.name == chosen)
    with writing(place, force=force) as draft:
        write_files(bundle, candidate, draft)
        manifest = replace(with_candidate(bundle.manifest, candidate, why), derived_from=bundle.digest)
        seal(draft, manifest)
        proof = verify(Bundle.open(draft), options_for(bundle, options))
        seal_proven(draft, manifest, proof)
    return Outcome(Bundle.open(place), True, proof, None, latency, remarks=remarks)
