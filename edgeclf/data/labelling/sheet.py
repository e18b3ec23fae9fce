"""Collected images as a sheet to label: thumbnails on a page, and a table with a column for the right class."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.console import csv_text
from edgeclf.data.labelling.image_cards import CARDS_STYLE, image_cards
from edgeclf.data.labelling.new_images import LABELS
from edgeclf.wording import NO_LABEL
from edgeclf_benchmarks.page.document import document, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.decode import find_images
from edgeclf_runtime.images.labelled import LabelledImage

PAGE = "labels.html"
COLUMNS = ("path", "label", "predicted", "score", "why")
_HOW_OF_SEVERAL = (
    f'Write what each image shows into the column "labels" of {LABELS}, in the row of its path: cat|dog, or '
    f'"{NO_LABEL}" where it shows none. Rows with an empty cell are passed over. The predicted labels are often wrong '
    "here: that is why the image was kept."
)
_HOW = (
    f'Write what each image shows into the column "label" of {LABELS}, in the row of its path. Rows without a label '
    "are passed over. The predicted class is often wrong here: that is why the image was kept."
)


@dataclass(frozen=True, slots=True)
class ToLabel:
    """An image without a label; what was predicted, if a file beside it says so, and whether it may be several."""

    image: LabelledImage
    predicted: str = ""
    score: float | None = None
    why: str = ""
    several: bool = False


def write_sheet(folder: Path, *, multi_label: bool | None = None, force: bool = False) -> tuple[int, str]:
    """Writes the table and the page into the folder; returns how many images they list, and the column to fill in.

    `multi_label`: an image may have several labels; None: as the predictions beside the images have it.

    Raises UsageError where there is a table already, DataError where there are no images.
    """
    listed = [_to_label(folder, path) for path in find_images(folder)[0]]
    if not listed:
        raise DataError(f"no images found in {folder}; `edgeclf predict --collect {folder}` keeps some")
    several = any(each.several for each in listed) if multi_label is None else multi_label
    columns = tuple("labels" if name == "label" and several else name for name in COLUMNS)
    with writing(folder / LABELS, force=force) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(_row(each) for each in listed)
    with writing(folder / PAGE, force=True) as draft:
        draft.write_text(_page(folder, listed, _HOW_OF_SEVERAL if several else _HOW), encoding="utf-8")
    return len(listed), columns[1]


def _to_label(folder: Path, path: Path) -> ToLabel:
    image = LabelledImage(folder, path.relative_to(folder).as_posix())
    try:
        about: Any = parse_json(path.with_suffix(".json").read_bytes())
        best, labels = about["prediction"]["scores"][0], about["prediction"].get("labels")
        predicted = str(best["label"])
        if labels is not None:
            predicted = about["prediction"]["label"] or "|".join(map(str, labels)) or NO_LABEL
        return ToLabel(image, predicted, float(best["probability"]), str(about["why"]), labels is not None)
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError):
        return ToLabel(image)


def _row(each: ToLabel) -> tuple[str, ...]:
    score = "" if each.score is None else f"{each.score:.4f}"
    return (each.image.name, "", csv_text(each.predicted), score, csv_text(each.why))


def _page(folder: Path, listed: list[ToLabel], how: str) -> str:
    cards = image_cards([each.image for each in listed], [_lines(each) for each in listed])
    body = section("Images", f"<p>{text(how)}</p>{cards}")
    title, about = f"To label: {folder.resolve().name}", f"{len(listed):,} images"
    return document(title, body, over="edgeclf data add --sheet", about=about, style=CARDS_STYLE)


def _lines(each: ToLabel) -> tuple[str, ...]:
    predicted = (
        ()
        if each.score is None
        else (
            f"predicted {text(each.predicted)}{', highest score' if each.several else ''} {each.score:.2f}",
            f"kept: {text(each.why)}",
        )
    )
    return (*predicted, f'<span class="dim">{text(each.image.name)}</span>')
