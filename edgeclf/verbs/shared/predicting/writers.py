"""How predictions are written: bars for people, one JSON document, rows of CSV. Each writer takes them one by one."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from edgeclf.console import bar, csv_text, document, inert, say
from edgeclf.lines import Line, cell_len, terminal_width
from edgeclf.wording import NO_LABEL, count, json_ready
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.decision import UNKNOWN, Prediction, Score
from edgeclf_runtime.errors import DataError, UsageError

_WIDEST_LABEL, _BAR_CELLS = 28, 32


@dataclass(slots=True)
class Totals:
    """What has passed through a run: images, those with an error, other files and empty folders passed over."""

    images: int = 0
    errors: int = 0
    others: int = 0
    empty_folders: int = 0
    finished: bool = False


class Predictions(Protocol):
    """Takes predictions in order, and the totals at the end."""

    def write(self, prediction: Prediction) -> None: ...
    def close(self, totals: Totals) -> None: ...


class TextPredictions:
    """Per image its name, all labels where it may have several, and its best classes with bars; with `top` 1 a line.

    Errors are not its business.
    """

    def __init__(self, labels: tuple[str, ...], scores: str, top: int) -> None:
        self._are_margins = scores == "margin"
        self._top = top
        widest = max((cell_len(inert(label)) for label in (*labels, UNKNOWN)), default=0)
        self._label_cells = min(widest, _WIDEST_LABEL)
        self._bar_cells = max(8, min(_BAR_CELLS, terminal_width() - self._label_cells - 14))

    def write(self, prediction: Prediction) -> None:
        if prediction.error is not None:
            return
        unknown = prediction.label == UNKNOWN and prediction.scores[0].label != UNKNOWN
        name = Line(inert(prediction.source), "bold")
        if prediction.notes:
            name.append(f"  ({inert('; '.join(prediction.notes))})", "dim")
        if prediction.labels is not None:
            self._write_labels(prediction, prediction.labels, name)
            return
        if self._top == 1:
            if unknown and prediction.unknown_by != "score":
                name.append(f"  ({why_unknown(prediction)})", "yellow")
            row = self._row(prediction.scores[0], prediction.label_text, unknown, bars=False)
            row.append("  ").extend(name, "yellow" if unknown else "").print(sys.stdout)
            return
        if unknown:
            name.append(f"  unknown: {why_unknown(prediction)}", "yellow")
        name.print(sys.stdout)
        for place, score in enumerate(prediction.scores):
            row = self._row(score, score.label, unknown, bars=not self._are_margins)
            Line("  ").extend(row, "bold" if place == 0 and not unknown else "dim" if place else "").print(sys.stdout)
        _write_nearest(prediction)

    def _write_labels(self, prediction: Prediction, labels: tuple[str, ...], name: Line) -> None:
        """All labels in one line; below it the best classes, those that are predicted in bold."""
        shown = f"{UNKNOWN}: {why_unknown(prediction)}" if prediction.unknown_by else ", ".join(map(inert, labels))
        predicted = Line(shown or NO_LABEL, "" if labels else "yellow")
        if self._top == 1:
            predicted.append("  ").extend(name).print(sys.stdout)
            return
        name.append("  ").extend(predicted).print(sys.stdout)
        for score in prediction.scores:
            row = self._row(score, score.label, False, bars=True)
            Line("  ").extend(row, "bold" if score.label in labels else "dim").print(sys.stdout)
        _write_nearest(prediction)

    def _row(self, score: Score, label: str, unknown: bool, *, bars: bool) -> Line:
        shown = inert(label)
        figure = f"{score.probability:+9.3f}" if self._are_margins else f"{score.probability:6.1%}"
        row = Line(shown + " " * max(0, self._label_cells - cell_len(shown)), "yellow" if unknown else "")
        row.append(f"  {figure}", "yellow" if unknown else "")
        if bars:
            row.append(f"  {bar(score.probability, self._bar_cells)}", "yellow" if unknown else "green")
        return row

    def close(self, totals: Totals) -> None:
        sys.stdout.flush()


def _write_nearest(prediction: Prediction) -> None:
    for each in prediction.nearest:
        near = f"  near {each.similarity:.3f}  {inert(each.label) or NO_LABEL}  {inert(each.path)}"
        Line(near, "dim").print(sys.stdout)


class JsonPredictions:
    """One document, written as predictions come, so that memory stays flat: `finished` at its end is false if cut."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._comma = ""
        opened = json.dumps(document("predict", header), indent=1, allow_nan=False)
        print(opened.removesuffix("\n}") + ',\n "predictions": [', end="")

    def write(self, prediction: Prediction) -> None:
        print(f"{self._comma}\n  {json.dumps(json_ready(prediction), allow_nan=False)}", end="")
        self._comma = ","

    def close(self, totals: Totals) -> None:
        print("\n ],\n" + json.dumps(json_ready(totals), indent=1).removeprefix("{\n"), flush=True)


class JsonLinePredictions:
    """One document a line and prediction, for a watch that has no end."""

    def write(self, prediction: Prediction) -> None:
        print(json.dumps(document("predict", {"prediction": prediction}), allow_nan=False), flush=True)

    def close(self, totals: Totals) -> None:
        pass


class CsvPredictions:
    """One row an image: the prediction, the best classes with their scores, and what went wrong."""

    def __init__(self, file: TextIO, top: int, *, header: bool = True) -> None:
        self._top = top
        self._file = file
        self.rows = 0
        # text is always quoted: programs that split at ; don't find a formula inside it either
        self._writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        if header:
            self._writer.writerow(csv_columns(top))

    def write(self, prediction: Prediction) -> None:
        notes = [*prediction.notes, *([why_unknown(prediction)] if prediction.unknown_by else [])]
        texts = (prediction.source, prediction.label_text, prediction.error or "", "; ".join(notes))
        cells: list[str | float] = [csv_text(text) for text in texts]
        for score in prediction.scores:
            cells += [csv_text(score.label), score.probability]
        self._writer.writerow(cells + [""] * (4 + 2 * self._top - len(cells)))
        self.rows += 1

    def close(self, totals: Totals) -> None:
        self._file.flush()


def why_unknown(prediction: Prediction) -> str:
    """By which rule a prediction is "unknown", in words."""
    if prediction.unknown_by == "energy":
        return f"like no class that it knows (energy {prediction.energy:.3g})"
    if prediction.unknown_by == "features":
        return f"looks like no class that it knows (similarity of features {prediction.similarity:.3g})"
    return "no class is sure enough"


def csv_columns(top: int) -> list[str]:
    """The header of a CSV with the `top` best classes."""
    return [
        "image",
        "answer",
        "error",
        "notes",
        *(f"{what}_{n}" for n in range(1, top + 1) for what in ("label", "score")),
    ]


@contextmanager
def csv_predictions(place: str, top: int, *, append: bool, force: bool) -> Iterator[CsvPredictions]:
    """Rows to `place` ("-": stdout). The file appears when all is done; with `append` its rows grow one by one.

    After an interruption the rows so far are in NAME.interrupted.csv beside it.

    Raises UsageError where the file exists and neither `force` nor `append` is given, or where its columns differ.
    """
    if place == "-":
        yield CsvPredictions(sys.stdout, top)
    elif append:
        yield from _appended(Path(place), top)
    elif os.path.lexists(place) and not force:
        raise UsageError(f"{place} exists; give --force to replace it, or another --csv file")
    else:
        with writing(Path(place), force=force) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            writer = CsvPredictions(file, top)
            try:
                yield writer
            except BaseException:
                file.flush()
                _keep_rows(draft, Path(place), writer.rows)
                raise


def _keep_rows(draft: Path, path: Path, rows: int) -> None:
    """What was predicted before an interruption, under another name: a file of the given name is whole, always."""
    if not rows:
        return
    kept = path.with_name(f"{path.stem}.interrupted{path.suffix}")
    with writing(kept, force=True) as copy:
        shutil.copyfile(draft, copy)
    say(f"interrupted: {count(rows, 'row')} so far kept in {kept}", style="yellow")


def _appended(path: Path, top: int) -> Iterator[CsvPredictions]:
    expected = ",".join(f'"{column}"' for column in csv_columns(top))
    try:
        opened = path.open("a+", encoding="utf-8", newline="", buffering=1)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror}") from error
    with opened as file:
        file.seek(0)
        found = file.readline().rstrip("\n")
        if found and found != expected:
            raise UsageError(f"{path} has other columns than these predictions; name another --csv file")
        yield CsvPredictions(file, top, header=not found)
