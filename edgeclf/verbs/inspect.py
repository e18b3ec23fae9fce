"""`edgeclf inspect`: what is in a bundle, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import grid, inert, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.inspection_tables import show_inspection
from edgeclf.verbs.shared.options import AsJson, BundlePath, Force, Language, shell_word
from edgeclf_runtime.errors import BundleError, DataError, UsageError

if TYPE_CHECKING:
    from edgeclf.inspection import Inspection
    from edgeclf_runtime.bundle.manifest import Manifest


def inspect(
    bundle: BundlePath,
    labels: Annotated[bool, typer.Option("--labels", help="List all class names, one per line, instead.")] = False,
    card: Annotated[
        bool, typer.Option("--card", help="Print a model card as Markdown instead, from measured data only.")
    ] = False,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Image whose preprocessing to show instead, step by step: shape, dtype, values.",
        ),
    ] = None,
    snippet: Annotated[
        Language | None,
        typer.Option(
            "--snippet",
            help="Print a program that runs a litert bundle without edgeclf instead, with its pixel contract.",
        ),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="REPORT", help="Report of bench or eval to cite in the model card; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.md", help="File for the model card.", show_default="stdout"),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show what a bundle holds, without running it.

    Prints the model, class names, preprocessing, origin, verification results and files. Every file is read once and
    its hash compared. Exit code 3: a file has changed.

    \b
    Examples:
      edgeclf inspect bundles/cats-onnx
      edgeclf inspect cats.tar --labels
      edgeclf inspect cats.tar --image photo.jpg
      edgeclf inspect bundles/cats-onnx --card --report benches/1.json -o cats.md
      edgeclf inspect bundles/cats-litert-fp32 --snippet kotlin > Classifier.kt
    """
    from edgeclf.inspection import inspect_bundle
    from edgeclf_runtime.bundle.bundle import Bundle

    if image is not None and (card or labels):
        raise UsageError("give one of --image, --card and --labels")
    if snippet is not None and (card or labels or image is not None or as_json):
        raise UsageError("--snippet prints a program alone; leave out --image, --card, --labels and --json")
    if card and (as_json or labels):
        raise UsageError("give one of --card, --json and --labels")
    if not card and (report or output is not None):
        raise UsageError("--report and --output are for the model card; give --card, too")
    opened = Bundle.open(bundle)
    if snippet is not None:
        from edgeclf.snippets.snippet import snippet as write_snippet

        print(write_snippet(opened, snippet), end="")
        return
    if image is not None:
        _show_steps(opened.manifest, image, as_json=as_json)
        suggest(f"edgeclf predict {shell_word(bundle)} {shell_word(str(image))}")
        return
    if labels and not as_json:
        for label in opened.manifest.labels:
            print(inert(label))
        return
    found = inspect_bundle(opened)
    if card:
        _write_card(found, report or [], output, force=force)
    elif as_json:
        from edgeclf_runtime.bundle.dataclass_json import to_json

        write_json("inspect", to_json(found))
    else:
        show_inspection(found)
    changed = [file.path for file in found.files if not file.unchanged]
    if changed:
        raise BundleError(f"{bundle}/{changed[0]}: changed since the export (SHA-256 differs); copy it again")
    suggest(f"edgeclf {'verify' if opened.manifest.state == 'built' else 'build'} {shell_word(bundle)}")


def _show_steps(manifest: Manifest, image: Path, *, as_json: bool) -> None:
    from edgeclf.image_steps import steps_of
    from edgeclf_runtime.errors import ImageError

    try:
        steps, notes = steps_of(manifest, image)
    except ImageError as error:
        raise DataError(f"{image}: {error}") from error
    if as_json:
        write_json("inspect", {"image": str(image), "steps": steps, "notes": notes})
        return
    table = grid()
    table.add_row(*(styled(heading, "dim") for heading in ("step", "shape", "dtype", "values", "mean", "")))
    for step in steps:
        values = "not made whole" if step.low is None else f"{step.low:.4g} to {step.high:.4g}"
        mean = " ".join(f"{each:.4g}" for each in step.mean or ())
        shape = "(" + ", ".join(map(str, step.shape)) + ")"
        table.add_row(styled(step.name, "cyan"), shape, step.dtype, values, mean, styled(step.did, "dim"))
    show(styled(str(image), "bold"), "", table)
    for note in notes:
        say(f"note: {note}")


def _write_card(found: Inspection, reports: Sequence[Path], output: Path | None, *, force: bool) -> None:
    from edgeclf.model_card.evidence import read_evidence
    from edgeclf.model_card.model_card import model_card
    from edgeclf_runtime.bundle.atomic_write import writing

    content = model_card(found, read_evidence(reports, found.digest))
    if output is None:
        print(content, end="")
        return
    with writing(output, force=force) as draft:
        draft.write_text(content, encoding="utf-8")
    say(f"wrote {output}", style="dim")
