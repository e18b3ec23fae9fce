"""`edgeclf data review`: images whose labels are probably wrong, for a person to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, grid, inert, say, show, suggest, write_json
from edgeclf.verbs.shared.options import AsJson, Backbone, Force, ImgSize, TrainDevice, need, shell_word
from edgeclf.verbs.shared.training_options import Weights
from edgeclf.verbs.shared.value_range import BitDepth, Window, value_range_of
from edgeclf.wording import count
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.data.labelling.suspects import LabelSuspect
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.label_review import LabelReview
    from edgeclf_runtime.images.data_split import DataSplit

_SHOWN = 10


def review(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|DATA",
            help="Labels to review: those that a run was trained on, or a folder with one subfolder per class, a CSV "
            "file or a split from `edgeclf data split`.",
        ),
    ],
    model: Backbone = None,
    weights: Weights = "hub",
    img_size: ImgSize = None,
    images: Annotated[int, typer.Option(min=1, metavar="N", help="Largest number of images to list.")] = 200,
    folds: Annotated[int, typer.Option(min=2, metavar="N", help="Number of cross-validation folds.")] = 5,
    device: TrainDevice = "auto",
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed of the folds.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the page and the table.")
    ] = Path("review"),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """List images whose labels are probably wrong.

    A linear probe on features of the backbone is cross-validated, and images are ranked by the probability that it
    gives their label, lowest first; where an image may have several, the probability of each that it has, or lacks.
    Writes review.html with thumbnails, and review.csv: correct its column "label" (or "labels": cat|dog), then run
    `edgeclf data apply`. No image is relabelled or removed by itself. Images of a group and copies are held
    out together; test images are left alone. The backbone and its weights are those that a run started from, not what
    it learnt, since a network that was trained on wrong labels has learnt them.

    \b
    Examples:
      edgeclf data review runs/cats
      edgeclf data review photos/ -m mobilenetv3_large_100 --images 100 -o to-check
    """
    from edgeclf.data.labelling.suspects import write_review
    from edgeclf.training.label_review import review_labels
    from edgeclf.verbs.train import NEEDED

    need("train", *NEEDED)
    if output.exists() and not force:
        raise UsageError(f"{output} exists; give --force to replace it, or another --output")
    place, data, config = _opened(source, model, weights, img_size)
    value_range = value_range_of(bit_depth, window) or config.value_range
    with Bars() as progress:
        config = replace(config, device=device, seed=seed, value_range=value_range)
        found = review_labels(config, data, folds=folds, progress=progress)
    suspects = found.suspects[:images]
    about = (
        f"{count(len(suspects), 'image')} of {found.images:,}, least probable label first. "
        f"{_agreement(found, data, f' ({config.model}, {folds} folds)')}."
    )
    write_review(output, place, suspects, about, multi_label=data.multi_label, force=force)
    if as_json:
        fields = {"images": found.images, "agreement": found.agreement, "test_images": found.test_images}
        listed = [_fields(each) for each in suspects]
        rest = {"too_few": found.too_few, "unreadable": found.unreadable, "doubted": len(found.suspects)}
        write_json("data review", {"source": str(source), **fields, **rest, "suspects": listed})
    else:
        _show(suspects)
    _end(found, suspects, output, data)


def _agreement(found: LabelReview, data: DataSplit, probe: str = "") -> str:
    """How far the probe is to be trusted."""
    if data.multi_label:
        return f"The probes{probe} find the given labels with a mAP of {found.agreement:.3f}"
    return f"The probe{probe} predicts the given label of {found.agreement:.1%} of all"


def _opened(source: Path, model: str | None, weights: str, img_size: int | None) -> tuple[Path, DataSplit, TrainConfig]:
    """Where the labels are kept, the images, and the backbone to compare them with."""
    from edgeclf.data.split import read_source
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.run.run import SPLIT, Run

    if Run.is_at(source):
        run = Run.open(source)
        config, data = run.config(), run.usable_data()
        if model is not None:
            config = replace(config, model=model, weights=weights, img_size=img_size)
        return source / SPLIT, data, config
    data = read_source(source, several_labels="known")
    if model is None:
        raise UsageError(
            f"{source} is no run: name a backbone with pretrained weights, such as -m mobilenetv3_large_100"
        )
    return source, data, TrainConfig(model=model, weights=weights, img_size=img_size)


def _fields(suspect: LabelSuspect) -> dict[str, object]:
    image, several = suspect.image, bool(suspect.doubts)
    return {
        "path": image.name,
        "split": image.split,
        "given": list(image.labels or ()) if several else image.label,
        "likely": list(filter(None, suspect.likely.split("|"))) if several else suspect.likely,
        "score_given": suspect.score_given,
        "score_likely": suspect.score_likely,
        **({"doubts": suspect.doubts} if several else {}),
    }


def _show(suspects: tuple[LabelSuspect, ...]) -> None:
    several = any(each.doubts for each in suspects)
    table = grid("image", "labels" if several else "label", "", "likely", "", title=1)
    for each in suspects[:_SHOWN]:
        given, likely = f"{each.score_given:.1%}", inert(each.likely)
        if several:
            first = each.doubts[0]
            given, likely = "", f"{first.is_probably} {inert(first.label)}"
        table.add_row(inert(each.image.name), inert(each.image.label_text), given, likely, f"{each.score_likely:.1%}")
    if suspects:
        show(table)


def _end(found: LabelReview, suspects: tuple[LabelSuspect, ...], output: Path, data: DataSplit) -> None:
    from edgeclf.data.labelling.suspects import PAGE, TABLE
    from edgeclf.data.sources import some

    for each in found.unreadable:
        say(f"edgeclf: {each.path}: {each.error}", style="red")
    say(
        f"{_agreement(found, data)}; of {count(found.images, 'image')} {len(found.suspects):,} are doubted, "
        f"{len(suspects):,} of those are listed"
    )
    if found.test_images:
        say(f"{count(found.test_images, 'test image')} left alone", style="dim")
    if found.too_few:
        say(f"warning: too few images to review {some(map(repr, found.too_few))}", style="yellow")
    say(f"wrote {output}: {PAGE}, {TABLE}", style="dim")
    column = "labels" if data.multi_label else "label"
    suggest(
        f"edgeclf data apply {shell_word(str(output / TABLE))}   (look at {PAGE} and edit the column {column} first)"
    )
