"""What a bundle's outputs are compared by: its manifest's tolerances, never more lenient than its precisions need."""

from __future__ import annotations

from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.bundle.proof import MOST_MEASURED, TOLERANCES, Tolerances, coarser, stricter
from edgeclf_runtime.session import BACKENDS


def tolerances_of(manifest: Manifest) -> tuple[Tolerances, tuple[str, ...]]:
    """What the reference's outputs are compared by, and notes where the manifest has something unusual.

    A manifest may be stricter than TOLERANCES, never more lenient: what somebody relaxed does not rule. INT8, and what
    an accuracy gate chose, were measured at export and are lenient by nature; there the own outputs decide.
    """
    stated, name = manifest.tolerances, " and ".join(sorted(_precisions(manifest)))
    allowed = MOST_MEASURED if is_gated(manifest) else coarser(*(TOLERANCES[each] for each in _precisions(manifest)))
    if coarser(stated, allowed) == allowed:
        return stated, ()
    kept = stricter(stated, allowed)
    return kept, (
        f"the manifest tolerates more than {name} needs ({_in_words(stated)}); evaluated by {_in_words(kept)}",
    )


def is_gated(manifest: Manifest) -> bool:
    """Whether accuracy on labelled images decided at export, and not a tolerance of logits."""
    if {manifest.weights_precision, manifest.compute_precision} == {"fp32"}:
        return False
    return manifest.weights_precision == "int8" or (
        manifest.ladder is not None and manifest.ladder.decisive is not None
    )


def _precisions(manifest: Manifest) -> set[str]:
    """What it is stored and computed in; an engine's TF32 has as many bits as fp16."""
    backend = BACKENDS.get(manifest.target)
    tf32 = {"fp16"} if manifest.state == "built" and backend is not None and backend.tf32 else set()
    stored_and_computed = {manifest.weights_precision, manifest.compute_precision}
    return {"int8" if each == "mixed" else each for each in stored_and_computed} | tf32


def _in_words(tolerances: Tolerances) -> str:
    return f"relative {tolerances.relative:g}, cosine {tolerances.cosine:g}, KL {tolerances.kl:g}"
