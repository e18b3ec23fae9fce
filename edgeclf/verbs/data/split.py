"""`edgeclf data split`: train, val and test, each image with its hash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeclf.console import Bars, say, suggest, write_json
from edgeclf.verbs.data.source import MultiLabel, Rehash, Source, several_labels_of
from edgeclf.verbs.shared.data_tables import SPLIT_NAMES, show_split, split_counts, without_label
from edgeclf.verbs.shared.options import AsJson, Force, Verbose, shell_word
from edgeclf.verbs.shared.passed_over import say_passed_over
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.images.data_split import DataSplit


def split(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="JSON file for the split.")] = Path(
        "split.json"
    ),
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed.")] = 0,
    fractions: Annotated[
        str, typer.Option(metavar="A,B,C", help="Fractions of train, val and test.")
    ] = "0.7,0.15,0.15",
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Regular expression for groups: images whose paths match with the same text (of its "
            "first parenthesis) stay in one split.",
            show_default="the CSV's group column",
        ),
    ] = None,
    multi_label: MultiLabel = False,
    rehash: Rehash = False,
    force: Force = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Split a data set into train, val and test.

    The split lists every image with its hash, and is made before any pixels are read.

    It is stratified by class, or iteratively by label where images have several; groups and identical files stay
    together; the same data and seed give the same split on any machine. Splits that the source already has are kept;
    without a val split, it is taken out of train.

    \b
    Examples:
      edgeclf data split photos/ -o split.json
      edgeclf data split tags/ --multi-label -o split.json
      edgeclf data split xrays.csv --fractions 0.6,0.2,0.2 --group-by '(patient[0-9]+)'
    """
    from edgeclf.data.groups import group_rule
    from edgeclf.data.sources import read_dataset
    from edgeclf.data.split import split_dataset
    from edgeclf.data.split_file import save_split

    if source.suffix.lower() == ".json":
        raise UsageError(f"{source} is a split already; name the folder or CSV that it was made of")
    rule = group_rule(group_by) if group_by is not None else None
    several = several_labels_of(multi_label)
    bars = Bars()
    data = read_dataset(source, several_labels=several, rehash=rehash, progress=bars)
    shares = _shares(fractions)
    split = split_dataset(data, shares, seed, group_of=rule, rehash=rehash, warn=bars.warn, progress=bars)
    save_split(split, output, force)
    if as_json:
        counts = {name: split_counts(split, name) for name in SPLIT_NAMES}
        fields: dict[str, Any] = {
            "path": str(output),
            "digest": split.digest,
            "seed": seed,
            "fractions": split.fractions,
        }
        if split.multi_label:
            fields["without_label"] = {name: without_label(split, name) for name in SPLIT_NAMES}
        write_json("data split", {**fields, "passed_over": data.passed_over, "counts": counts})
    else:
        show_split(split)
    say_passed_over([source], data.passed_over, verbose=verbose)
    if data.has_splits:
        new_val = "" if data.of("val") else ", val is taken out of its train"
        say(f"the source's own splits are kept{new_val}", style="dim")
    _warn_of_balance(split)
    say(f"wrote {output}  sha256 of its items {split.digest}", style="dim")
    suggest(
        f"edgeclf data check {shell_word(str(output))}",
        f"edgeclf train {shell_word(str(output))} --model mobilenetv3_large_100",
    )


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--fractions wants three numbers such as 0.7,0.15,0.15, found {text!r}") from None
    return train, val, test


def _warn_of_balance(data: DataSplit) -> None:
    from edgeclf.data.balance import balance_warnings, few_to_evaluate
    from edgeclf.data.sources import some

    for warning in balance_warnings(split_counts(data, "train")):
        say(f"warning: {warning}", style="yellow")
    for name in ("val", "test"):
        counted = split_counts(data, name)
        lacking = [label for label, number in counted.items() if not number]
        if not any(counted.values()):
            say(f"warning: no {name} images", style="yellow")
        elif lacking:
            say(f"warning: {name} has no image of {some(map(repr, lacking))}", style="yellow")
        elif few := few_to_evaluate(counted, name):
            say(f"warning: {few}", style="yellow")
