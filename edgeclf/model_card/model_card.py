"""A bundle's model card (Mitchell et al., FAT* 2019) as Markdown: what was measured; the owner adds the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf.inspection import Inspection
from edgeclf.model_card.accuracy import NOT_MEASURED, accuracy_section, share
from edgeclf.model_card.evidence import Evidence, Measured
from edgeclf.wording import agreement_of, size
from edgeclf_benchmarks.comparing.columns import median_ms
from edgeclf_benchmarks.page.escaping import markdown, markdown_table
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.bundle.quantization_report import shares_in_words
from edgeclf_runtime.metrics.robustness import Robustness

_MOST_LABELS = 100
# What can't be measured here. A card that guessed it would be worth less than one that leaves it open.
_OWNERS = (
    ("Intended use", "which decisions it supports, in whose hands, on which images"),
    ("Out of scope", "uses that it must not be put to"),
    ("Licence and contact", "of weights and training data; who is responsible for it"),
    ("Ethical considerations", "people and groups that its errors affect; what is done about it"),
)


def model_card(found: Inspection, evidence: Evidence) -> str:
    """The card. Every figure in it comes from the manifest, the proofs or the evidence."""
    sections = (
        ("Facts", _facts(found, evidence)),
        ("Input and output", _contract(found)),
        ("Accuracy", accuracy_section(evidence)),
        ("Robustness to corrupted images", _robustness(evidence)),
        ("Speed", _speed(evidence)),
        ("Precision", _precision(found)),
        ("Proofs", _proofs(found)),
    )
    lines = [f"# {markdown(found.name)}\n", "Made by `edgeclf inspect --card`. Nothing here is estimated.\n"]
    lines += [f"## {title}\n\n*To be filled in by the owner: {what}.*\n" for title, what in _OWNERS]
    lines += [f"## {title}\n\n{''.join(body).rstrip()}\n" for title, body in sections]
    return "\n".join(lines)


def _facts(found: Inspection, evidence: Evidence) -> Iterator[str]:
    manifest, origin = found.manifest, found.manifest.provenance
    images, seconds = evidence.training_images, origin.training_seconds
    rows = [
        ("task", manifest.task),
        ("backbone", origin.backbone),
        ("weights", origin.weights),
        ("runs on", f"{manifest.target} ({manifest.state})"),
        ("size", size(found.bytes)),
        ("made", f"{origin.created_utc} with " + ", ".join(f"{name} {each}" for name, each in origin.versions.items())),
        ("training run", origin.run or "none known"),
        ("teacher", "none known" if origin.teacher is None else str(origin.teacher)),
        ("training time", NOT_MEASURED if seconds is None else f"{seconds:.0f} s"),
        ("training images", NOT_MEASURED if images is None else str(images)),
        ("training data, SHA-256 of its split", origin.data_sha256 or "not known"),
        ("identity (SHA-256)", found.digest),
    ]
    yield markdown_table(("fact", "value"), rows)


def _contract(found: Inspection) -> Iterator[str]:
    manifest = found.manifest
    yield f"Pixels: {markdown(found.pixels_in_words)}.\n\nNormalisation: {markdown(found.normalization_in_words)}.\n\n"
    if manifest.task != "classify":
        return
    thresholds = f", {words}" if (words := manifest.thresholds_in_words) else ""
    yield f"Scores: {manifest.scores}, temperature {manifest.temperature:.3g}{thresholds}.\n\n"
    if (fit := manifest.temperature_fit) is not None:
        yield f"The {fit}{'' if fit.caution is None else f' ({fit.caution})'}.\n\n"
    shown = ", ".join(map(markdown, manifest.labels[:_MOST_LABELS]))
    more = f", and {len(manifest.labels) - _MOST_LABELS} more" if len(manifest.labels) > _MOST_LABELS else ""
    yield f"Classes ({len(manifest.labels)}): {shown}{more}.\n"


def _robustness(evidence: Evidence) -> Iterator[str]:
    known = [(each, each.row.robustness) for each in evidence.benches if each.row.robustness is not None]
    if not known:
        yield f"{NOT_MEASURED.capitalize()}: no report of `edgeclf bench --corruptions` was given.\n"
    for each, found in known:
        source = "" if each.report.data is None else f" of {markdown(each.report.data.name)}"
        corrupted = share(found.mean_value, found.mean_interval)
        clean = f"{found.figure} {found.clean_value:.3f}"
        yield f"{found.images} images{source}: {clean} as they are, {corrupted} corrupted.\n\n"
        yield markdown_table(("corruption", "level 1", "level 2", "level 3"), _levels(found))


def _levels(found: Robustness) -> list[tuple[str, ...]]:
    names = dict.fromkeys(each.name for each in found.entries)
    return [(name, *(f"{each.value:.3f}" for each in found.entries if each.name == name)) for name in names]


def _speed(evidence: Evidence) -> Iterator[str]:
    if not evidence.benches:
        yield f"{NOT_MEASURED.capitalize()}: no report of `edgeclf bench` was given.\n"
        return
    headings = (
        "machine",
        "threads",
        "p50 [95 %]",
        "p99",
        "end to end [95 %]",
        "cold start",
        "memory",
        "energy per image",
    )
    yield markdown_table(headings, [_machine(each) for each in evidence.benches])
    for each in evidence.benches:
        for caution in each.report.cautions:
            if caution.row in (None, each.row.name):
                yield f"\n- {markdown(each.file)}: {markdown(caution.found)}"
    yield "\n"


def _machine(found: Measured) -> tuple[str, ...]:
    report, row = found.report, found.row
    batch, threads = report.settings.batch_sizes[0], report.settings.threads[0]
    infer, whole = (row.latency(stage, batch, threads) for stage in ("infer", "end_to_end"))
    return (
        report.machine.get("jetson") or report.machine.get("cpu") or report.machine_id,
        str(threads),
        median_ms(infer, NOT_MEASURED),
        NOT_MEASURED if infer is None else "n too small" if infer.p99_ms is None else f"{infer.p99_ms:.2f} ms",
        median_ms(whole, NOT_MEASURED),
        NOT_MEASURED if row.cold_start is None else f"{row.cold_start.total_ms / 1000:.2f} s",
        NOT_MEASURED if row.peak_memory_mib is None else f"{row.peak_memory_mib:.0f} MiB",
        NOT_MEASURED if row.power is None else f"{row.power.mj_per_image:.1f} mJ ({row.power.source})",
    )


def _precision(found: Inspection) -> Iterator[str]:
    manifest = found.manifest
    yield f"Stored in {manifest.weights_precision}, computed in {manifest.compute_precision}"
    yield f" ({markdown(shares_in_words(manifest.shares))} of the multiplications)" if manifest.shares else ""
    yield ".\n"
    if manifest.calibration is not None:
        yield f"\nCalibrated on {manifest.calibration.images} images by {markdown(manifest.calibration.method)}.\n"
    if manifest.ladder is not None:
        chosen = f"{markdown(manifest.ladder.chosen)} was chosen: " if manifest.ladder.chosen else ""
        yield f"\n{chosen}{markdown(manifest.ladder.why)}\n"
        final = manifest.ladder.final
        if final is not None:
            name = final.metric if final.labelled else "agreement with the reference"
            yield f"\nOn {final.images} images ({markdown(final.source)}): {name} {final.value:.3f}, "
            yield f"{final.change_points:+.2f} points, not below {final.bound_points:+.2f} (95 %).\n"


def _proofs(found: Inspection) -> Iterator[str]:
    known = [(each, each.proof) for each in found.proofs if each.proof is not None]
    if not known:
        yield f"{NOT_MEASURED.capitalize()}: no machine has proven it yet; `edgeclf verify` does.\n"
        return
    rows = [
        (
            proof.machine.get("jetson") or proof.machine.get("cpu") or each.machine,
            proof.created_utc[:10],
            f"{proof.comparison.images} of {proof.images_source}{_fast(proof)}",
            f"{proof.comparison.max_relative:.1e} of range",
            proof.comparison.in_words,
            proof.verdict if each.problem is None else f"{proof.verdict}, {each.problem.partition(';')[0]}",
        )
        for each, proof in known
    ]
    reference = found.manifest.reference
    yield f"Against {markdown(reference.kind)} ({markdown(reference.id)}):\n\n"
    agreement = agreement_of(found.manifest.task, multi_label=found.manifest.multi_label)
    yield markdown_table(("machine", "when", "proven on", "largest difference", agreement, "verdict"), rows)
    checks: Sequence[str] = found.manifest.checks
    yield "".join(f"\n- {markdown(each)}" for each in checks) + "\n"


def _fast(proof: Proof) -> str:
    return ", fast pixels" if proof.machine.get("pixels") == "fast" else ""
