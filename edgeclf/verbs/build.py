"""`edgeclf build`: make a bundle ready on the machine that will run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, grid, say, show, styled, write_json
from edgeclf.verbs.shared.opening import open_signed, say_remarks, session_options
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AsJson,
    BundlePath,
    ComputePrecision,
    Device,
    Force,
    PublicKeyFile,
    Strict,
    Threads,
)
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.sheet import Sheet
    from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.deploy.build_result import Outcome

_FROM_BUNDLE = "as the bundle says"


def build(
    bundle: BundlePath,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the new bundle.",
            show_default="beside the old one, as NAME-sm87-trt10.3",
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Largest batch size, for TensorRT.", show_default=_FROM_BUNDLE),
    ] = None,
    opt_batch: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Batch size that TensorRT optimizes for.", show_default=_FROM_BUNDLE),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MIB",
            help="TensorRT workspace: largest scratch memory of a layer, in MiB.",
            show_default="half of what is free, with a cap",
        ),
    ] = None,
    tf32: Annotated[
        bool | None,
        typer.Option(
            "--tf32/--no-tf32", help="TF32 computation of fp32 layers in TensorRT.", show_default=_FROM_BUNDLE
        ),
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="TensorRT engine that newer versions load, too; slower."),
    ] = False,
    hardware_compatible: Annotated[
        bool,
        typer.Option("--hardware-compatible", help="TensorRT engine for every desktop GPU from Ampere on; slower."),
    ] = False,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    compute_precision: ComputePrecision = None,
    key: PublicKeyFile = None,
    strict: Strict = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Build a bundle for this machine, verify it and measure its latency.

    A portable TensorRT bundle gets its engine here, in a new bundle beside it, whose outputs are compared with the
    reference's. The portable bundle stays as it is and can be built again after an update. Other bundles run as they
    are: they are verified and measured. No torch is needed. Exit code 1: the new engine differs from its reference
    (kept aside as NAME.failed); 4: there is no GPU, or no TensorRT.

    \b
    Examples:
      edgeclf build cats-tensorrt-fp16
      edgeclf build cats-tensorrt-fp16.tar --max-batch 8 --workspace 512
      edgeclf build cats-onnx
    """
    from edgeclf_runtime.deploy import build as builds

    options = session_options(device, threads, compute_precision)
    opened, _ = open_signed(bundle, key)
    given = {
        "max_batch": max_batch,
        "opt_batch": opt_batch,
        "workspace_mib": workspace,
        "tf32": tf32,
        "version_compatible": version_compatible or None,
        "hardware_compatible": hardware_compatible or None,
    }
    outcome = builds.build(
        opened,
        _settings(opened, {name: value for name, value in given.items() if value is not None}, output),
        options,
        destination=output,
        force=force,
        progress=Bars(),
    )
    if as_json:
        write_json("build", _document(outcome))
    else:
        _show(outcome)
    _finish(outcome, strict=strict)


def _settings(bundle: Bundle, given: dict[str, int | bool], output: Path | None) -> BuildSettings | None:
    """The bundle's own settings with those that were given in their place; None for what needs no build."""
    from dataclasses import replace

    from edgeclf_runtime.deploy.build import needs_build, settings_of

    if needs_build(bundle):
        return replace(settings_of(bundle), **given)  # type: ignore[arg-type]
    misplaced = [*given, *(["output"] if output and not bundle.manifest.candidates else [])]
    if misplaced:
        raise UsageError(
            f"--{misplaced[0].removesuffix('_mib').replace('_', '-')} is for tensorrt bundles; {bundle.path} is for "
            f"{bundle.manifest.target} and runs as it is"
        )
    return None


def _document(outcome: Outcome) -> dict[str, object]:
    bundle = outcome.bundle
    return {
        "bundle": {"path": str(bundle.path), "digest": bundle.digest, "state": bundle.manifest.state},
        "made": outcome.made,
        "derived_from": bundle.manifest.derived_from,
        "proof": outcome.proof,
        "saved_at": None if outcome.saved_at is None else str(outcome.saved_at),
        "latency": {"batch": 1, "median_ms": outcome.median_ms},
        "audit": outcome.audit,
        "remarks": outcome.remarks,
    }


def _show(outcome: Outcome) -> None:
    from edgeclf.verbs.verify import show_proof

    show_proof(outcome.bundle, outcome.proof)
    show("", _measured(outcome))


def _measured(outcome: Outcome) -> Sheet:
    table = grid()
    milliseconds = f"{outcome.median_ms:.3g} ms"
    measured = "median of one image, pixels to logits, without decoding"
    if outcome.bundle.manifest.task == "embed-text":
        measured = "median of one text, tokens to embedding, without tokenizing"
    table.add_row("latency", milliseconds, styled(measured, "dim"))
    if outcome.audit is not None and outcome.audit.shares:
        shares = ", ".join(f"{share:.0%} {name}" for name, share in outcome.audit.shares.items())
        table.add_row("computed in", shares, styled("of the multiplications, as the engine reports", "dim"))
    return table


def _finish(outcome: Outcome, *, strict: bool) -> None:
    from edgeclf.verbs.verify import settle, suggest_use

    path = str(outcome.bundle.path)
    for remark in outcome.remarks:
        say(f"note: {remark}", style="yellow")
    say_remarks(outcome.proof.machine)
    if outcome.made:
        say(f"wrote {path}: built, for this machine alone", style="dim")
    elif outcome.saved_at is not None:
        say(f"wrote {outcome.saved_at}", style="dim")
    else:
        say(f"the proof is not stored: {outcome.bundle.sidecar.parent} is not writable", style="dim")
    settle(path, outcome.proof, strict=strict)
    suggest_use(outcome.bundle)
