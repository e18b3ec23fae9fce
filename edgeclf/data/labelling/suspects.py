"""Images whose labels may be wrong, as a folder for a person: thumbnails on a page, a table to edit."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeclf.console import csv_text
from edgeclf.data.labelling.image_cards import CARDS_STYLE, image_cards
from edgeclf_benchmarks.page.document import document, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.images.labelled import LabelledImage

PAGE, TABLE, ABOUT = "review.html", "review.csv", "review.json"
COLUMNS = ("number", "path", "label", "given", "likely", "score_given", "score_likely", "split", "group")
COLUMNS_OF_SEVERAL = (*COLUMNS[:2], "labels", *COLUMNS[3:5], "missing", "superfluous", *COLUMNS[5:])
LEAVE_OUT = "-"  # in the column "label"
SCHEMA = 1
_HOW = (
    "The least probable labels come first. Look at each image; where its label is wrong, write the right one into the "
    f'column "label" of {TABLE}, in the row of the same number. A label of {LEAVE_OUT} leaves the image out. All other '
    "rows may stay as they are: nothing changes by itself. A doubt is no proof: down the list, most images are "
    "just hard."
)


_HOW_OF_SEVERAL = (
    "The image with the least probable label, or lack of one, comes first. Look at each image; where labels are "
    f'missing or superfluous, correct the column "labels" of {TABLE}, in the row of the same number: cat|dog, or '
    f"nothing; a {LEAVE_OUT} alone leaves the image out. All other rows may stay as they are: nothing changes by "
    "itself. A doubt is no proof: down the list, most images are just hard, and rare labels are doubted more than "
    "common ones."
)


@dataclass(frozen=True, slots=True)
class Doubt:
    """One of several labels of an image that is probably missing, or superfluous; how probable what is given is."""

    label: str
    is_probably: Literal["missing", "superfluous"]
    score_given: float


@dataclass(frozen=True, slots=True)
class LabelSuspect:
    """An image, the class that is more probable than its label, and both probabilities.

    Where an image may have several labels, `likely` are all of them as they probably are, "cat|dog", `doubts` those
    that are probably otherwise than given, the most doubtful first, and the probabilities those of the first.
    """

    image: LabelledImage
    likely: str
    score_given: float
    score_likely: float
    doubts: tuple[Doubt, ...] = ()


def write_review(
    folder: Path,
    source: Path,
    suspects: Sequence[LabelSuspect],
    about: str,
    *,
    multi_label: bool = False,
    force: bool = False,
) -> None:
    """Writes page, table and where the data is into the new `folder`, in one step. `about`: a sentence for the page."""
    columns = COLUMNS_OF_SEVERAL if multi_label else COLUMNS
    with writing(folder, force=force) as draft:
        draft.mkdir()
        how = _HOW_OF_SEVERAL if multi_label else _HOW
        (draft / PAGE).write_text(_page(source, suspects, about, how), encoding="utf-8")
        with (draft / TABLE).open("w", encoding="utf-8", newline="") as file:
            rows = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            rows.writeheader()
            rows.writerows(_row(number, suspect) for number, suspect in enumerate(suspects, 1))
        place = {"schema": SCHEMA, "source": str(source.resolve())}
        (draft / ABOUT).write_text(json.dumps(place) + "\n", encoding="utf-8")


def _row(number: int, suspect: LabelSuspect) -> dict[str, str]:
    image = suspect.image
    given = csv_text("|".join(image.labels or ()))
    return {
        "number": str(number),
        "path": csv_text(image.name),
        "label": given,
        "labels": given,
        "given": given,
        "likely": csv_text(suspect.likely),
        "missing": csv_text(_doubted(suspect, "missing")),
        "superfluous": csv_text(_doubted(suspect, "superfluous")),
        "score_given": f"{suspect.score_given:.4f}",
        "score_likely": f"{suspect.score_likely:.4f}",
        "split": image.split or "",
        "group": csv_text(image.group or ""),
    }


def _doubted(suspect: LabelSuspect, which: str) -> str:
    return "|".join(each.label for each in suspect.doubts if each.is_probably == which)


def _page(source: Path, suspects: Sequence[LabelSuspect], about: str, how: str) -> str:
    lines = [_lines(number, each) for number, each in enumerate(suspects, 1)]
    cards = image_cards([suspect.image for suspect in suspects], lines)
    body = section("Images", f"<p>{text(how)}</p>{cards}" if suspects else "<p>No label is doubted.</p>")
    title = f"Labels of {source.name} to look at"
    return document(title, body, over="edgeclf data review", about=text(about), style=CARDS_STYLE)


def _lines(number: int, suspect: LabelSuspect) -> tuple[str, ...]:
    place = " · ".join(part for part in (suspect.image.split, suspect.image.name) if part)
    if suspect.doubts:
        doubted = (
            f"{each.is_probably} <b>{text(each.label)}</b> {1 - each.score_given:.1%}" for each in suspect.doubts
        )
        given = f"<b>{number}</b> · <b>{text(suspect.image.label_text)}</b>"
        return (given, *doubted, f'<span class="dim">{text(place)}</span>')
    return (
        f"<b>{number}</b> · label <b>{text(suspect.image.label)}</b> {suspect.score_given:.1%}",
        f"likely <b>{text(suspect.likely)}</b> {suspect.score_likely:.1%}",
        f'<span class="dim">{text(place)}</span>',
    )
