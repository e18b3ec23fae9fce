"""The results of `edgeclf export` and `zeroshot`: proofs, states, what was checked, what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.console import grid, say, show, styled, suggest, verdict, write_json
from edgeclf.verbs.shared.exporting.layouts import laid_out, suggest_layout
from edgeclf.verbs.shared.ladder_table import show_ladder, warn_inconclusive
from edgeclf.verbs.shared.options import shell_word
from edgeclf.wording import agreement_of, size
from edgeclf_runtime.errors import GateError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.exporting.source_options import Layout
    from edgeclf_export.exportable import AnyExportable, Contract
    from edgeclf_export.exporter import Exported
    from edgeclf_export.failures import TargetsFailed


def collect(bundles: Iterable[Exported]) -> tuple[list[Exported], TargetsFailed | None]:
    """The bundles that were made, and why the other targets failed; None: nothing failed."""
    from edgeclf_export.failures import TargetsFailed

    made: list[Exported] = []
    try:
        for bundle in bundles:
            made.append(bundle)
    except TargetsFailed as failure:
        return made, failure
    return made, None


def show_bundles(
    verb: str,
    exportable: AnyExportable,
    made: Sequence[Exported],
    models: Sequence[Path] = (),
    *,
    layout: Layout = "bundle",
    failure: TargetsFailed | None = None,
    form: str = "uint8-nhwc",
    as_json: bool,
) -> None:
    """The bundles, their pixel contract and ladders, and what was laid out for other software, or all as JSON.

    `form`: the chosen input form. Raises `failure` when all is shown.
    """
    from edgeclf_export.exportable import Exportable

    contract = exportable.contract(form)
    labels = contract.labels
    pixels_from = exportable.pixels_from if isinstance(exportable, Exportable) else ""
    if as_json:
        bundles = [
            {
                "path": str(b.path),
                "bytes": b.bundle_bytes,
                "target": b.target,
                "state": b.state,
                "checks": b.checks,
                "proof": b.proof,
                "ladder": b.ladder,
            }
            for b in made
        ]
        source = {"backbone": exportable.backbone, "weights": exportable.weights, "classes": len(labels)}
        source |= {"pixels": contract.pixels, "normalization": contract.normalization, "pixels_from": pixels_from}
        failed = [] if failure is None else failure.failed
        made_of_them = laid_out(layout, models)
        write_json(verb, {"source": source, "bundles": bundles, "failed": failed, **made_of_them})
    else:
        _show_all(exportable, contract, made, failure, pixels_from)
    if failure is not None:
        raise failure


def _show_all(
    exportable: AnyExportable,
    contract: Contract,
    made: Sequence[Exported],
    failure: TargetsFailed | None,
    pixels_from: str,
) -> None:
    if made:
        _show_table(made, contract)
    ladders = [(b.target, b.ladder) for b in made]
    ladders += [(each.target, each.ladder) for each in (failure.failed if failure else ())]
    for target, ladder in ladders:
        if ladder is not None:
            show_ladder(ladder, f"{target}: accuracy gate {ladder.floor}")
    if contract.pixels is not None:
        _show_contract(contract, pixels_from)
    compared = f"; compared on {made[0].proof.images_source}" if made else ""
    say(f"{exportable.backbone}, {exportable.weights}{compared}", style="dim")


def _show_table(made: Sequence[Exported], contract: Contract) -> None:
    differs = "max |Δembedding|" if contract.task != "classify" else "max |Δlogit|"
    compared_by = (differs, agreement_of(contract.task, multi_label=contract.multi_label))
    quantized = [b for b in made if b.ladder is not None and b.ladder.decisive is not None]
    table = grid("bundle", "size", "stored", "computed", *compared_by, "proof", *(("accuracy gate",) * bool(quantized)))
    for b in made:
        compared = b.proof.comparison
        gate = b.ladder.decisive if b.ladder is not None else None
        table.add_row(
            str(b.path),
            size(b.bundle_bytes),
            b.weights_precision,
            b.proof.compute_precision if b.state == "built" else "on the device",
            f"{compared.max_relative:.1e} of range",
            compared.in_words,
            verdict(b.proof.verdict),
            *((verdict(gate.verdict),) if gate is not None else ()),
        )
    show(table)


def _show_contract(contract: Contract, origin: str) -> None:
    """How an image becomes the network's input, and where that was taken from: to be compared with the training."""
    from edgeclf.inspection import describe_normalization, describe_pixels

    table = grid()
    rows = {
        "pixels": describe_pixels(contract.pixels),
        "normalise": describe_normalization(contract.normalization),
        "taken from": origin,
    }
    for name, value in rows.items():
        if value:
            table.add_row(styled(name, "cyan"), styled(value))
    show("", table)


def finish(
    made: Sequence[Exported],
    models: Sequence[Path] = (),
    *,
    layout: Layout = "bundle",
    strict: bool,
    uses: Sequence[str] = ("predict {} IMAGE", "pack {}"),
) -> None:
    """The last lines; `uses` are what to type next, with a bundle for {}.

    Raises GateError for an inconclusive proof where `strict` wants a pass.
    """
    for b in made:
        _say_state(b, made)
        if b.ladder is not None:
            warn_inconclusive(b.ladder, str(b.path))
        if b.proof.verdict == "inconclusive":
            say(f"INCONCLUSIVE: {b.path}: {'; '.join(b.proof.reasons)}", style="bold yellow")
    if strict and any(b.proof.verdict == "inconclusive" for b in made):
        raise GateError("an inconclusive proof, and --strict wants a pass; give more images with --proof-data")
    gates = [b.ladder.decisive for b in made if b.ladder is not None]
    if strict and any(gate is not None and gate.verdict != "pass" for gate in gates):
        raise GateError(
            "the accuracy gate of int8 is not shown to pass, and --strict wants that; evaluate on more images"
        )
    if models:
        suggest_layout(layout, models)
        return
    commands = []
    if built := [b for b in made if b.state == "built"]:
        first = shell_word(str(built[0].path))
        commands += [f"edgeclf {use.format(first)}" for use in uses]
    for b in made:
        if b.state == "portable" and not _has_engine(made):
            commands += _on_the_device(b.path)
    suggest(*commands)


def _say_state(b: Exported, made: Sequence[Exported]) -> None:
    """What a bundle is whose engine is built on the device, and what was checked; others are in the table."""
    from edgeclf_export.targets.registry import TARGETS

    on_device = TARGETS[b.target].on_device
    if on_device is None:
        return
    if b.state == "built":
        say(f"{b.path} is built: an engine for this machine alone", style="bold")
    else:
        say(f"{b.path} is portable: a graph prepared for {on_device.engine}, not yet an engine", style="bold")
    for check in (*b.checks, *(b.proof.reasons if b.proof.verdict == "pass" else ())):
        say(f"  {check}", style="dim")
    if b.state == "portable" and not _has_engine(made):
        say(f"  no engine was built here: {on_device.why_not_here()}", style="dim")


def _has_engine(made: Sequence[Exported]) -> bool:
    from edgeclf_export.targets.registry import TARGETS

    return any(TARGETS[b.target].on_device is not None and b.state == "built" for b in made)


def _on_the_device(portable: Path) -> list[str]:
    tar = f"{portable.name}.tar"
    return [
        f"edgeclf pack {shell_word(str(portable))}",
        f"scp {shell_word(str(portable.with_name(tar)))} DEVICE:",
        f"edgeclf build {shell_word(tar)}    (on the device)",
    ]
