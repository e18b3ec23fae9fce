"""Images whose labels may be wrong, as a folder for a person: thumbnails on a page, a table to edit."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.console import csv_text
from edgeclf.data.image_cards import CARDS_STYLE, image_cards
from edgeclf_benchmarks.page.document import document, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.images.labelled import LabelledImage

PAGE, TABLE, ABOUT = "review.html", "review.csv", "review.json"
COLUMNS = ("number", "path", "label", "given", "likely", "score_given", "score_likely", "split", "group")
LEAVE_OUT = "-"  # in the column "label"
SCHEMA = 1
_HOW = (
    "The least probable labels come first. Look at each image; where its label is wrong, write the right one into the "
    f'column "label" of {TABLE}, in the row of the same number. A label of {LEAVE_OUT} leaves the image out. All other '
    "rows may stay as they are: nothing changes by itself. A doubt is no proof: down the list, most images are "
    "just hard."
)


@dataclass(frozen=True, slots=True)
class LabelSuspect:
    """An image, the class that is more probable than its label, and both probabilities."""

    image: LabelledImage
    likely: str
    score_given: float
    score_likely: float


def write_review(
    folder: Path, source: Path, suspects: Sequence[LabelSuspect], about: str, *, force: bool = False
) -> None:
    """Writes page, table and where the data is into the new `folder`, in one step. `about`: a sentence for the page."""
    with writing(folder, force=force) as draft:
        draft.mkdir()
        (draft / PAGE).write_text(_page(source, suspects, about), encoding="utf-8")
        with (draft / TABLE).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            rows.writerows(_row(number, suspect) for number, suspect in enumerate(suspects, 1))
        place = {"schema": SCHEMA, "source": str(source.resolve())}
        (draft / ABOUT).write_text(json.dumps(place) + "\n", encoding="utf-8")


def _row(number: int, suspect: LabelSuspect) -> tuple[str, ...]:
    image = suspect.image
    given = csv_text(image.label)
    return (
        str(number),
        csv_text(image.name),
        given,
        given,
        csv_text(suspect.likely),
        f"{suspect.score_given:.4f}",
        f"{suspect.score_likely:.4f}",
        image.split or "",
        csv_text(image.group or ""),
    )


def _page(source: Path, suspects: Sequence[LabelSuspect], about: str) -> str:
    lines = [_lines(number, each) for number, each in enumerate(suspects, 1)]
    cards = image_cards([suspect.image for suspect in suspects], lines)
    body = section("Images", f"<p>{text(_HOW)}</p>{cards}" if suspects else "<p>No label is doubted.</p>")
    title = f"Labels of {source.name} to look at"
    return document(title, body, over="edgeclf data review", about=text(about), style=CARDS_STYLE)


def _lines(number: int, suspect: LabelSuspect) -> tuple[str, ...]:
    place = " · ".join(part for part in (suspect.image.split, suspect.image.name) if part)
    return (
        f"<b>{number}</b> · label <b>{text(suspect.image.label)}</b> {suspect.score_given:.1%}",
        f"likely <b>{text(suspect.likely)}</b> {suspect.score_likely:.1%}",
        f'<span class="dim">{text(place)}</span>',
    )
