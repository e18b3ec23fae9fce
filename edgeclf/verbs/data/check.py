"""`edgeclf data check`: leakage, duplicates, conflicting labels and unreadable files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeclf.console import Bars, say, suggest, write_json
from edgeclf.verbs.data.source import MultiLabel, Rehash, Source, several_labels_of
from edgeclf.verbs.shared.data_tables import show_check
from edgeclf.verbs.shared.options import AsJson, Force, Verbose, shell_word
from edgeclf.verbs.shared.passed_over import say_passed_over
from edgeclf_runtime.errors import DataError, GateError

if TYPE_CHECKING:
    from edgeclf.data.check import Checked, Pair
    from edgeclf.data.findings import Finding
    from edgeclf_runtime.images.data_split import DataSplit
    from edgeclf_runtime.images.labelled import LabelledImage


def check(
    source: Source,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for check.html and pairs.png, which show near-duplicates side by side."
        ),
    ] = None,
    multi_label: MultiLabel = False,
    rehash: Rehash = False,
    force: Force = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Find leakage between splits, duplicates, conflicting labels and unreadable files.

    Decodes every image once, and again only where its file changes or --rehash is given. Exit code 1: an image, or a
    group, is in two splits. Exit code 3: unreadable files, the same pixels under two labels, or classes without
    training images. Near-duplicates, class imbalance and unusual sizes are warnings.

    \b
    Examples:
      edgeclf data check photos/
      edgeclf data check tags.csv
      edgeclf data check split.json --report checked --json > check.json
    """
    from edgeclf.data.check import check_source
    from edgeclf.data.findings import find_faults
    from edgeclf.data.sheet import write_report

    several = several_labels_of(multi_label)
    checked = check_source(source, several_labels=several, rehash=rehash, progress=Bars())
    findings = find_faults(checked)
    if report is not None:
        write_report(report, f"Data check of {source}", checked, findings, force=force)
    if as_json:
        write_json("data check", _fields(source, checked, findings))
    else:
        show_check(checked, findings)
    say_passed_over([source], checked.data.passed_over, verbose=verbose)
    if report is not None:
        say(f"wrote {report / 'check.html'}", style="dim")
    _end(source, checked, findings, report, multi_label)


def _fields(source: Path, checked: Checked, findings: tuple[Finding, ...]) -> dict[str, Any]:
    from edgeclf.data.balance import count_labels
    from edgeclf.data.co_occurrence import label_statistics
    from edgeclf_runtime.images.labelled import all_labels

    data = checked.data
    return {
        "source": str(source),
        "images": len(data.images),
        "passed_over": data.passed_over,
        "classes": count_labels(all_labels(data.images), data.classes),
        "labels": label_statistics(data.images, data.classes) if data.multi_label else None,
        "findings": findings,
        "leaks": [_pair(each, data) for each in checked.leaks],
        "conflicts": [_pair(each, data) for each in checked.conflicts],
        "copies": [[_place(each, data) for each in copies] for copies in checked.copies],
        "look_alikes": [_pair(each, data) for each in checked.alike],
        "deep": checked.deep,
        "look_alikes_cut": checked.alike_cut,
        "unreadable": checked.unreadable,
        "changed": checked.changed,
        "odd": checked.odd,
    }


def _pair(pair: Pair, data: DataSplit) -> dict[str, Any]:
    measures = {name: getattr(pair, name) for name in ("same_pixels", "bits", "correlation", "mirrored")}
    return {"first": _place(pair.first, data), "second": _place(pair.second, data), **measures}


def _place(image: LabelledImage, data: DataSplit) -> dict[str, Any]:
    labels = {"labels": image.labels} if data.multi_label else {"label": image.label}
    return {"path": image.name, **labels, "split": image.split}


def _end(source: Path, checked: Checked, findings: tuple[Finding, ...], report: Path | None, multi_label: bool) -> None:
    """Raises GateError for a leak, DataError for another fault; else prints what to type next."""
    found = {verdict: [each.text for each in findings if each.verdict == verdict] for verdict in ("leak", "fault")}
    if found["leak"]:
        raise GateError(f"{source} leaks: {'; '.join(found['leak'])}; remove one of each, or split anew by group")
    if found["fault"]:
        left_out = " (`edgeclf train` leaves out what can't be used)" if checked.unreadable or checked.changed else ""
        raise DataError(f"{source}: {'; '.join(found['fault'])}{left_out}")
    shown = shell_word(str(source)) + (" --multi-label" if multi_label else "")
    deep = f" {checked.deep.remedy}" if checked.deep.value_range is not None else ""
    commands, data = [], shown
    if report is None and checked.alike:
        commands.append(f"edgeclf data check {shown} --report checked")
    elif source.suffix.lower() != ".json":
        data = "split.json"
        commands.append(f"edgeclf data split {shown} -o {data}")
    if deep or not commands:
        commands.append(f"edgeclf train {data} --model mobilenetv3_large_100{deep}")
    suggest(*commands)
