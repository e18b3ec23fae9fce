"""What `edgeclf inspect` shows of a bundle: its manifest, proofs and files as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.console import grid, mark, show, styled, verdict
from edgeclf.wording import count, size

if TYPE_CHECKING:
    from rich.text import Text

    from edgeclf.inspection import Inspection
    from edgeclf.sheet import Sheet
    from edgeclf_runtime.bundle.manifest import Manifest, TensorSpec

_FIRST_LABELS = 5
_BUILT_ON = ("jetson", "gpu", "cpu", "engine", "engine_version", "system")
_STATES = {"built": "built: runs here and now", "portable": "portable: has to be built on the device first"}


def show_inspection(found: Inspection) -> None:
    kind = "packed" if found.packed else "folder"
    rows = grid()
    for name, value in _properties(found.manifest, found):
        rows.add_row(styled(name, "cyan"), styled(value))
    show(
        styled(found.name, "bold") + styled(f"  {found.manifest.target}, {kind}, {size(found.bytes)}", "not bold dim"),
        "",
        rows,
        *_ladder(found.manifest),
        styled("proofs", "cyan"),
        _proofs(found),
        styled("files", "cyan"),
        _files(found),
    )


def _ladder(manifest: Manifest) -> list[Sheet | Text]:
    """The steps of the ladder that were tried for an int8 bundle, and why one was chosen."""
    from edgeclf.verbs.shared.ladder_table import ladder_table, remarks

    if manifest.ladder is None:
        return []
    return [styled("ladder", "cyan"), ladder_table(manifest.ladder), *remarks(manifest.ladder)]


def _properties(manifest: Manifest, found: Inspection) -> list[tuple[str, str]]:
    origin = manifest.provenance
    stored, computed = manifest.weights_precision, manifest.compute_precision
    rows = [
        ("task", _task(manifest)),
        ("state", _STATES[manifest.state]),
        ("precision", f"stored {stored}, computed {computed}" + _audited(manifest)),
        ("labels", _labels(manifest.labels) if manifest.labels else ""),
        ("prompts", _prompts(manifest)),
        ("input", "; ".join(map(_tensor, manifest.inputs))),
        ("output", "; ".join(map(_tensor, manifest.outputs))),
        ("pixels", found.pixels_in_words),
        ("normalise", found.normalization_in_words if manifest.task != "embed-text" else ""),
        ("backbone", origin.backbone),
        ("weights", origin.weights),
        ("made", f"{origin.created_utc}" + (f" from run {origin.run}" if origin.run else "")),
        ("teacher", "" if origin.teacher is None else str(origin.teacher)),
        ("with", ", ".join(f"{name} {version}" for name, version in origin.versions.items())),
        ("reference", f"{manifest.reference.kind}: {manifest.reference.id}"),
        ("golden", _golden(manifest)),
        ("features", _features(manifest)),
        ("identity", found.digest),
    ]
    rows += [("checked", check) for check in manifest.checks]
    if manifest.temperature_fit is not None:
        rows.append(("temperature", str(manifest.temperature_fit).removeprefix("temperature ")))
    if manifest.calibration is not None:
        rows.append(("calibration", f"{manifest.calibration.method}, {manifest.calibration.images} images"))
    if manifest.candidates:
        rows.append(("candidates", ", ".join(candidate.name for candidate in manifest.candidates)))
    if manifest.derived_from is not None:
        rows.append(("derived from", manifest.derived_from))
    if manifest.built_on is not None:
        built_on = [manifest.built_on.get(key, "") for key in _BUILT_ON]
        rows.append(("built on", ", ".join(filter(None, built_on))))
    return [(name, value) for name, value in rows if value]


def _features(manifest: Manifest) -> str:
    """What the bundle can compare features with; empty where it gives none."""
    info = manifest.features
    if info is None:
        return ""
    kept = ""
    if info.index is not None:
        kept = f"; an index of training images for predict --nearest, {size(manifest.files[info.index].bytes)}"
    return f"class means of {count(info.images, 'training image')}{kept}"


def _audited(manifest: Manifest) -> str:
    from edgeclf_runtime.bundle.quantization_report import shares_in_words

    if manifest.shares is None:
        return ""
    return f"; of the multiplications {shares_in_words(manifest.shares)}, as the engine reports"


def _task(manifest: Manifest) -> str:
    return manifest.task + (f", {manifest.scores}" + _temperature(manifest) if manifest.task == "classify" else "")


def _golden(manifest: Manifest) -> str:
    golden = manifest.golden
    return count(len(golden.texts), "text") if golden.texts else f"{len(golden.images)} images"


def _prompts(manifest: Manifest) -> str:
    """Of a zero-shot classifier: the first template, how many there are, the scale of the cosines."""
    prompts = manifest.prompts
    if prompts is None:
        return ""
    bias = "" if prompts.logit_bias is None else f", bias {prompts.logit_bias:.3g}"
    first = f"{count(len(prompts.templates), 'template')} ({prompts.source}): {prompts.templates[0]!r}"
    return f"{first}; scale {prompts.logit_scale:.4g}{bias}"


def _temperature(manifest: Manifest) -> str:
    words = f", temperature {manifest.temperature:.3g}" if manifest.temperature != 1 else ""
    return words + (f", {thresholds}" if (thresholds := manifest.thresholds_in_words) else "")


def _labels(labels: tuple[str, ...]) -> str:
    first = ", ".join(labels[:_FIRST_LABELS])
    return f"{len(labels)}: {first}" + (", … (--labels lists all)" if len(labels) > _FIRST_LABELS else "")


def _tensor(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} ({', '.join(map(str, tensor.shape))}) {tensor.layout}"


def _proofs(inspection: Inspection) -> Sheet:
    table = grid(title=3)
    task = inspection.manifest.task
    item, outputs = "text" if task == "embed-text" else "image", "logits" if task == "classify" else "embeddings"
    for found in inspection.proofs:
        where = "in the bundle" if found.place == "bundle" else f"beside it, {found.machine}"
        if found.proof is None:
            table.add_row("", styled("- not counted", "dim"), styled(where), styled(found.problem or "", "dim"))
            continue
        proof = found.proof
        machine = proof.machine.get("jetson") or proof.machine.get("cpu", "")
        compared = f"{count(proof.comparison.images, item)}, {outputs} within {proof.comparison.max_relative:.1e}"
        fast = "fast pixels, " if proof.machine.get("pixels") == "fast" else ""
        about = f"{proof.created_utc[:10]}, {fast}{compared}, {machine}"
        if proof.verdict == "pass" and proof.reasons:  # what it proves, where that is less than the engine
            about += f" ({'; '.join(proof.reasons)})"
        if found.problem is None:
            table.add_row("", verdict(proof.verdict), styled(where), styled(about))
            continue
        sign = verdict("fail") if found.counts else styled(f"- {proof.verdict}, not counted", "dim")
        table.add_row("", sign, styled(where), styled(f"{about}; {found.problem}", "" if found.counts else "dim"))
    if not inspection.proofs:
        table.add_row("", "none yet")
    return table


def _files(found: Inspection) -> Sheet:
    """A line a file; golden images share one, unless something is wrong with them."""
    table = grid(title=3)
    golden = [file for file in found.files if file.path.startswith("golden/") and file.unchanged]
    for file in (file for file in found.files if file not in golden):
        state = mark(True) if file.unchanged else f"{mark(False)} changed"
        sign = styled(state, "green" if file.unchanged else "bold red")
        table.add_row("", sign, styled(file.path), size(file.bytes), styled(file.sha256[:12], "dim"))
    if golden:
        together = f"golden/ ({count(len(golden), 'file')})"
        table.add_row("", styled(mark(True), "green"), together, size(sum(file.bytes for file in golden)))
    return table
