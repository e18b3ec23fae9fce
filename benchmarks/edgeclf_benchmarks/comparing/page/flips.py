"""Images that only one of a row and its reference predicts correctly, with both predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.markers import badges
from edgeclf_benchmarks.comparing.regression import right_predictions
from edgeclf_benchmarks.measuring.report import Data, Image
from edgeclf_benchmarks.measuring.thumbnails import MOST, most_telling
from edgeclf_benchmarks.page.escaping import name, shortened, text
from edgeclf_benchmarks.page.html_tables import Table

_RIGHT, _WRONG = '<span class="pass">✓', '<span class="fail">✗'


@dataclass(frozen=True, slots=True)
class PredictedClass:
    """One class that was predicted for an image: by which entries (numbers), their scores, and whether it is right."""

    label: str
    right: bool
    numbers: tuple[int, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Flipped:
    """An image whose correctness changed in a row: all predictions for it; `thumbnail` is a JPEG in base64."""

    path: str
    label: str
    predictions: tuple[PredictedClass, ...]
    thumbnail: str | None


def flipped_images(entries: Sequence[Entry]) -> tuple[tuple[Flipped, ...], int]:
    """Those that most rows lose first, at most MOST, and how many there are; all reports have the same images."""
    predicting = [(number, entry) for number, entry in enumerate(entries, 1) if entry.row.answers is not None]
    data = next((entry.report.data for _, entry in predicting if entry.report.data is not None), None)
    if data is None:
        return (), 0
    thumbnails: dict[str, str] = {}
    for _, entry in predicting:
        thumbnails |= entry.report.data.thumbnails if entry.report.data is not None else {}
    places = _places([entry for _, entry in predicting], data)
    order = sorted(places, key=lambda place: data.images[place].path not in thumbnails)  # stable
    shown = tuple(
        Flipped(
            data.images[place].path,
            _named(_labels_of(data.images[place]), data.classes),
            tuple(_predictions(predicting, data, place)),
            thumbnails.get(data.images[place].path),
        )
        for place in order[:MOST]
    )
    return shown, len(places)


def _places(entries: Sequence[Entry], data: Data) -> list[int]:
    """Those whose correctness differs from the reference of their report, those that most rows lose first."""
    places: dict[int, None] = {}
    for report in dict.fromkeys(id(entry.report) for entry in entries):
        rows = [entry for entry in entries if id(entry.report) == report]
        reference = next((right_predictions(entry.row, data) for entry in rows if entry.is_reference), None)
        if reference is not None:
            others = [right_predictions(entry.row, data) for entry in rows if not entry.is_reference]
            places |= dict.fromkeys(most_telling(reference, [each for each in others if each is not None]))
    return list(places)


def _labels_of(image: Image) -> tuple[int, ...]:
    return (image.number,) if image.labels is None else image.labels


def _named(labels: Sequence[int], classes: Sequence[str]) -> str:
    """ "cat", "cat + dog", "no label"."""
    return " + ".join(classes[number] for number in labels) or "no label"


def _predictions(predicting: Sequence[tuple[int, Entry]], data: Data, place: int) -> Iterator[PredictedClass]:
    """The right one first, then those that most rows give."""
    given: dict[tuple[int, ...], list[tuple[int, float]]] = {}
    for number, entry in predicting:
        if (answers := entry.row.answers) is not None:
            labels = (answers.numbers[place],) if answers.labels is None else answers.labels[place]
            given.setdefault(labels, []).append((number, answers.confidence[place]))
    right = _labels_of(data.images[place])
    for predicted in sorted(given, key=lambda each: (each != right, -len(given[each]), each)):
        numbers, confidence = zip(*given[predicted], strict=True)
        yield PredictedClass(_named(predicted, data.classes), predicted == right, numbers, confidence)


def cards(entries: Sequence[Entry], images: Sequence[Flipped]) -> str:
    """A card an image: its thumbnail where the report has one, its label, and which row predicts what."""
    return f'<ul class="cards">{"".join(_card(entries, image) for image in images)}</ul>'


def _card(entries: Sequence[Entry], image: Flipped) -> str:
    thumbnail = '<span class="blank" aria-hidden="true">no thumbnail</span>'
    if image.thumbnail is not None:
        thumbnail = f'<img alt="{text(image.label)}" src="data:image/jpeg;base64,{text(image.thumbnail)}">'
    predictions = "".join(
        f"<li>{_RIGHT if each.right else _WRONG} {name(each.label)}</span> {badges(each.numbers, entries)}</li>"
        for each in image.predictions
    )
    path = f'<span class="dim" title="{text(image.path)}">{text(_ending(image.path))}</span>'
    return f"<li>{thumbnail}<div><b>{name(image.label)}</b> {path}<ul>{predictions}</ul></div></li>"


def _ending(path: str) -> str:
    """The file's name, and as much of it as a card has room for."""
    return shortened(path.rsplit("/", 1)[-1], 28)


def flipped_table(entries: Sequence[Entry], images: Sequence[Flipped]) -> Table:
    """The same as a table, with each row's score."""
    rows = [
        (
            image.path,
            image.label,
            "; ".join(
                f"{entries[number - 1].name}: {each.label} ({confidence:.2f})"
                for each in image.predictions
                for number, confidence in zip(each.numbers, each.confidence, strict=True)
            ),
        )
        for image in images
    ]
    return Table(
        "Predictions for the images", ("image", "label", "predictions"), tuple(rows), words=("label", "predictions")
    )
