"""`edgeclf data`: look at a data set, part it into train, val and test, measure it, fetch a public one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeclf.console import grid, say, show, styled, suggest, track, write_json
from edgeclf.verbs.shared.data_tables import show_check, show_split, show_stats, split_counts
from edgeclf.verbs.shared.options import AsJson, Force, need, shell_word
from edgeclf.verbs.shared.passed_over import Verbose, say_passed_over
from edgeclf.verbs.shared.value_range import BitDepth, Window, options_for, value_range_of
from edgeclf_runtime.errors import DataError, GateError, UsageError

if TYPE_CHECKING:
    from edgeclf.data.check import Checked, Pair
    from edgeclf.data.findings import Finding
    from edgeclf_runtime.images.data_split import DataSplit
    from edgeclf_runtime.images.labelled import LabelledImage

app = typer.Typer(
    rich_markup_mode=None,
    help="Look at a data set: check it, split it, measure it, or fetch a public one.\n\n"
    "A data set is a folder with a folder a class, train, val and test folders of those, or a CSV "
    "path,label[,split][,group].",
)

Source = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="An image folder, a CSV, or a split that `data split` wrote.")
]


@app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(UsageError.exit_code)


@app.command()
def check(
    source: Source,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write check.html and pairs.png there: look-alikes side by side."),
    ] = None,
    force: Force = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Find leaks, copies, wrong labels and broken files.

    Decodes every image once. Exit code 1: an image, or a group, is in two splits. 3: files that can't be read, the
    same pixels under two labels, classes that train lacks. Look-alikes, imbalance and odd sizes are warnings.

    \b
    Examples:
      edgeclf data check photos/
      edgeclf data check split.json --report checked --json > check.json
    """
    from edgeclf.data.check import check_source
    from edgeclf.data.findings import judge
    from edgeclf.data.sheet import write_report

    checked = check_source(source, track=track)
    findings = judge(checked)
    if report is not None:
        write_report(report, f"Data check of {source}", checked, findings, force=force)
    if as_json:
        write_json("data check", _fields(source, checked, findings))
    else:
        show_check(checked, findings)
    say_passed_over([source], checked.data.passed_over, verbose=verbose)
    if report is not None:
        say(f"wrote {report / 'check.html'}", style="dim")
    _end(source, checked, findings, report)


@app.command()
def split(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The split to write.")] = Path(
        "split.json"
    ),
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed is another split.")] = 0,
    fractions: Annotated[str, typer.Option(metavar="A,B,C", help="Shares of train, val and test.")] = "0.7,0.15,0.15",
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Images in whose paths it finds the same text (its first parenthesis) stay in one split.",
            show_default="the CSV's group column",
        ),
    ] = None,
    force: Force = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Part a data set into train, val and test.

    The split lists every image with its hash, and is made before anything looks at pixels.

    Stratified by class; groups and files with the same bytes stay together; the same data and seed give the same
    split on any machine. Splits that the source has are kept, and val comes out of train where there is none.

    \b
    Examples:
      edgeclf data split photos/ -o split.json
      edgeclf data split xrays.csv --fractions 0.6,0.2,0.2 --group-by '(patient[0-9]+)'
    """
    from edgeclf.data.groups import group_rule
    from edgeclf.data.sources import read_dataset
    from edgeclf.data.split import split_dataset
    from edgeclf.data.split_file import save_split

    if source.suffix.lower() == ".json":
        raise UsageError(f"{source} is a split already; name the folder or CSV that it was made of")
    rule = group_rule(group_by) if group_by is not None else None
    data = read_dataset(source)
    split = split_dataset(data, _shares(fractions), seed, group_of=rule, track=track)
    save_split(split, output, force)
    if as_json:
        counts = {name: split_counts(split, name) for name in ("train", "val", "test")}
        fields = {"path": str(output), "digest": split.digest, "seed": seed, "fractions": split.fractions}
        write_json("data split", {**fields, "passed_over": data.passed_over, "counts": counts})
    else:
        show_split(split)
    say_passed_over([source], data.passed_over, verbose=verbose)
    if data.has_splits:
        say(
            f"the source's own splits are kept{'' if data.of('val') else ', val is taken out of its train'}",
            style="dim",
        )
    _warn_of_balance(split)
    say(f"wrote {output}  sha256 of its items {split.digest}", style="dim")
    suggest(
        f"edgeclf data check {shell_word(str(output))}",
        f"edgeclf train {shell_word(str(output))} --model mobilenetv3_large_100",
    )


@app.command()
def stats(
    source: Source,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="The backbone to compare with.", show_default="ImageNet's"),
    ] = None,
    bit_depth: BitDepth = None,
    window: Window = None,
    as_json: AsJson = False,
) -> None:
    """Measure channels, sizes and class counts.

    Says whether the statistics of the backbone or those of the data should normalise the images.

    Reads the training split only, where there are splits.

    \b
    Example:
      edgeclf data stats split.json --model mobilenetv3_large_100
    """
    from edgeclf.data.split import read_source
    from edgeclf.data.stats import IMAGENET, advise, backbone_statistics, measure

    backbone = IMAGENET if model is None else backbone_statistics(model)
    value_range = value_range_of(bit_depth, window)
    found = measure(read_source(source), value_range, track=track)
    advice = advise(found, backbone)
    if as_json:
        write_json("data stats", {"source": str(source), "model": model, "statistics": found, "advice": advice})
    else:
        show_stats(found, advice)
    for note in advice.notes:
        say(f"note: {note}")
    if found.split is None:
        say(
            "warning: no splits, so this includes the images to be tested on; `edgeclf data split` parts them", "yellow"
        )
    if found.deep.value_range is not None:  # all else was measured on images that are nearly black
        suggest(f"edgeclf data stats {shell_word(str(source))} {found.deep.remedy}")
        return
    shown = options_for(value_range)
    suggest(f"edgeclf train {shell_word(str(source))} --model {model or 'NAME'} --normalize {advice.normalize}{shown}")


@app.command()
def preview(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The PNG to write.")] = Path(
        "preview.png"
    ),
    augment: Annotated[
        list[str] | None, typer.Option(metavar="RECIPE", help="Recipes to show; repeatable.", show_default="all")
    ] = None,
    img_size: Annotated[
        int, typer.Option("--img-size", "--imgsz", min=8, metavar="PX", help="Side of a picture.")
    ] = 128,
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: Annotated[int, typer.Option(metavar="N", help="For the samples, and the split if there is none.")] = 0,
    force: Force = False,
) -> None:
    """Draw what each augmentation recipe makes of training pictures, beside what the device sees.

    \b
    Example:
      edgeclf data preview photos/ --augment standard --augment strong -o preview.png
    """
    from edgeclf.data.split import open_data
    from edgeclf.training.inputs.augment import RECIPES
    from edgeclf.training.inputs.preview import draw_preview
    from edgeclf_runtime.images.pixels import Pixels

    need("train", "torch", "torchvision")
    recipes = tuple(augment or RECIPES)
    if unknown := [recipe for recipe in recipes if recipe not in RECIPES]:
        raise UsageError(f"no recipe {unknown[0]!r}; choose one of {', '.join(RECIPES)}")
    resized = round(img_size / 0.875)
    pixels = Pixels(
        "shorter", (resized, resized), (img_size, img_size), "bicubic", value_range=value_range_of(bit_depth, window)
    )
    draw_preview(open_data(source, seed), pixels, output, recipes=recipes, seed=seed, force=force)
    say(f"wrote {output}: {', '.join(recipes)}", style="dim")
    suggest(f"edgeclf train {shell_word(str(source))} --model NAME --augment {recipes[-1]}")


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The data set; without it: a list.")] = None,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="The folder to write.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a public data set as an image folder. Two come with installed packages, others need the network.

    \b
    Examples:
      edgeclf data fetch
      edgeclf data fetch photo-patches patches
      edgeclf data fetch flowers102 flowers
    """
    from edgeclf.data.fetch import TABLE, fetch_dataset, public_sets

    if name is None:
        _show_sets(as_json=as_json)
        return
    known = {each.name: each for each in public_sets()}
    place = folder if folder is not None else Path(name)
    if name in known and not known[name].embedded:
        say(f"{name}: {known[name].about}; downloading", style="dim")
    images = fetch_dataset(name, place, force=force, track=track)
    source = place / TABLE if (place / TABLE).exists() else place
    if as_json:
        write_json("data fetch", {"name": name, "path": str(place), "source": str(source), "images": images})
    say(f"wrote {place}  {images:,} images", style="dim")
    suggest(
        f"edgeclf data check {shell_word(str(source))}",
        f"edgeclf data split {shell_word(str(source))} -o split.json",
    )


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--fractions wants three numbers such as 0.7,0.15,0.15, found {text!r}") from None
    return train, val, test


def _fields(source: Path, checked: Checked, findings: tuple[Finding, ...]) -> dict[str, Any]:
    from edgeclf.data.balance import count_labels

    data = checked.data
    return {
        "source": str(source),
        "images": len(data.images),
        "passed_over": data.passed_over,
        "classes": count_labels((image.label for image in data.images), data.classes),
        "findings": findings,
        "leaks": list(map(_pair, checked.leaks)),
        "conflicts": list(map(_pair, checked.conflicts)),
        "copies": [list(map(_place, copies)) for copies in checked.copies],
        "look_alikes": list(map(_pair, checked.alike)),
        "deep": checked.deep,
        "look_alikes_cut": checked.alike_cut,
        "unreadable": checked.unreadable,
        "changed": checked.changed,
        "odd": checked.odd,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    facts = {name: getattr(pair, name) for name in ("same_pixels", "bits", "correlation", "mirrored")}
    return {"first": _place(pair.first), "second": _place(pair.second), **facts}


def _place(image: LabelledImage) -> dict[str, str | None]:
    return {"path": image.name, "label": image.label, "split": image.split}


def _end(source: Path, checked: Checked, findings: tuple[Finding, ...], report: Path | None) -> None:
    """Raises GateError for a leak, DataError for another fault; else says what to type next."""
    found = {verdict: [each.text for each in findings if each.verdict == verdict] for verdict in ("leak", "fault")}
    if found["leak"]:
        raise GateError(f"{source} leaks: {'; '.join(found['leak'])}; remove one of each, or split anew by group")
    if found["fault"]:
        left_out = " (`edgeclf train` leaves out what can't be used)" if checked.unreadable or checked.changed else ""
        raise DataError(f"{source}: {'; '.join(found['fault'])}{left_out}")
    if report is None and checked.alike:
        suggest(f"edgeclf data check {shell_word(str(source))} --report checked")
    elif source.suffix.lower() != ".json":
        suggest(f"edgeclf data split {shell_word(str(source))} -o split.json")
    else:
        deep = f" {checked.deep.remedy}" if checked.deep.value_range is not None else ""
        suggest(f"edgeclf train {shell_word(str(source))} --model mobilenetv3_large_100{deep}")


def _warn_of_balance(data: DataSplit) -> None:
    from edgeclf.data.balance import balance_warnings, few_to_judge
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
        elif few := few_to_judge(counted, name):
            say(f"warning: {few}", style="yellow")


def _show_sets(*, as_json: bool) -> None:
    from edgeclf.data.fetch import public_sets

    sets = public_sets()
    if as_json:
        rows = [{"name": each.name, "about": each.about, "embedded": each.embedded} for each in sets]
        write_json("data fetch", {"sets": rows})
        return
    table = grid()
    for each in sets:
        table.add_row(each.name, each.about, styled("no network needed" if each.embedded else "download", "dim"))
    show(table)
    suggest("edgeclf data fetch photo-patches patches")
