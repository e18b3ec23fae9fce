"""Images that one row answers rightly and its reference wrongly, or the other way round, with both answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.markers import badges
from edgeclf_benchmarks.measuring.thumbnails import MOST, most_telling
from edgeclf_benchmarks.page.escaping import name, shortened, text
from edgeclf_benchmarks.page.html_tables import Table

_RIGHT, _WRONG = '<span class="pass">✓', '<span class="fail">✗'


@dataclass(frozen=True, slots=True)
class Answer:
    """One class that was answered for an image: by which entries (numbers), how surely, and whether it is right."""

    label: str
    right: bool
    numbers: tuple[int, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Flipped:
    """An image on which rows and references part ways: all answers to it; `thumbnail` is a JPEG in base64."""

    path: str
    label: str
    answers: tuple[Answer, ...]
    thumbnail: str | None


def flipped_images(entries: Sequence[Entry]) -> tuple[tuple[Flipped, ...], int]:
    """Those that most rows lose first, at most MOST, and how many there are; all reports have the same images."""
    answered = [(number, entry) for number, entry in enumerate(entries, 1) if entry.row.answers is not None]
    data = next((entry.report.data for _, entry in answered if entry.report.data is not None), None)
    if data is None:
        return (), 0
    thumbnails: dict[str, str] = {}
    for _, entry in answered:
        thumbnails |= entry.report.data.thumbnails if entry.report.data is not None else {}
    labels = np.array([image.number for image in data.images], dtype=np.intp)
    places = _places([entry for _, entry in answered], labels)
    order = sorted(places, key=lambda place: data.images[place].path not in thumbnails)  # stable
    shown = tuple(
        Flipped(
            data.images[place].path,
            data.classes[labels[place]],
            tuple(_answers(answered, data.classes, place, int(labels[place]))),
            thumbnails.get(data.images[place].path),
        )
        for place in order[:MOST]
    )
    return shown, len(places)


def _places(entries: Sequence[Entry], labels: NDArray[np.intp]) -> list[int]:
    """Those that part ways with the reference of their own report, of each report the most telling first."""
    places: dict[int, None] = {}
    for report in dict.fromkeys(id(entry.report) for entry in entries):
        rows = [entry for entry in entries if id(entry.report) == report]
        reference = next((_numbers(entry) for entry in rows if entry.is_reference), None)
        if reference is not None:
            others = [_numbers(entry) for entry in rows if not entry.is_reference]
            places |= dict.fromkeys(most_telling(labels, reference, others))
    return list(places)


def _numbers(entry: Entry) -> NDArray[np.intp]:
    return np.array(entry.row.answers.numbers if entry.row.answers else (), dtype=np.intp)


def _answers(answered: Sequence[tuple[int, Entry]], classes: Sequence[str], place: int, label: int) -> Iterator[Answer]:
    """The right one first, then those that most rows give."""
    given: dict[int, list[tuple[int, float]]] = {}
    for number, entry in answered:
        if entry.row.answers is not None:
            sure = entry.row.answers.confidence[place]
            given.setdefault(entry.row.answers.numbers[place], []).append((number, sure))
    for answer in sorted(given, key=lambda each: (each != label, -len(given[each]), each)):
        numbers, confidence = zip(*given[answer], strict=True)
        yield Answer(classes[answer], answer == label, numbers, confidence)


def cards(entries: Sequence[Entry], images: Sequence[Flipped]) -> str:
    """A card an image: the picture where the report has one, the right class, and who answers what."""
    return f'<ul class="cards">{"".join(_card(entries, image) for image in images)}</ul>'


def _card(entries: Sequence[Entry], image: Flipped) -> str:
    picture = '<span class="blank" aria-hidden="true">no picture</span>'
    if image.thumbnail is not None:
        picture = f'<img alt="{text(image.label)}" src="data:image/jpeg;base64,{text(image.thumbnail)}">'
    answers = "".join(
        f"<li>{_RIGHT if each.right else _WRONG} {name(each.label)}</span> {badges(each.numbers, entries)}</li>"
        for each in image.answers
    )
    path = f'<span class="dim" title="{text(image.path)}">{text(_ending(image.path))}</span>'
    return f"<li>{picture}<div><b>{name(image.label)}</b> {path}<ul>{answers}</ul></div></li>"


def _ending(path: str) -> str:
    """The file's name, and as much of it as a card has room for."""
    return shortened(path.rsplit("/", 1)[-1], 28)


def flipped_table(entries: Sequence[Entry], images: Sequence[Flipped]) -> Table:
    """The same in words, with how sure each row is."""
    rows = [
        (
            image.path,
            image.label,
            "; ".join(
                f"{entries[number - 1].name}: {each.label} ({confidence:.2f})"
                for each in image.answers
                for number, confidence in zip(each.numbers, each.confidence, strict=True)
            ),
        )
        for image in images
    ]
    return Table("Answers to the images", ("image", "right", "answers"), tuple(rows), words=("right", "answers"))
