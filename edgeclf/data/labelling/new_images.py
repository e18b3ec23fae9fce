"""The labelled images that `data add` brings into a data set, in whichever way a person has labelled them."""

from __future__ import annotations

from pathlib import Path

from edgeclf.data.several_labels import SeveralLabels
from edgeclf.data.sources import read_dataset
from edgeclf.data.table import read_rows, read_table
from edgeclf.data.table_labels import cell_of_labels
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit

LABELS = "labels.csv"


def read_new(folder: Path, *, multi_label: bool = False) -> DataSplit:
    """The labelled images to add: `labels.csv` in the folder, else a folder a class, or a CSV.

    `multi_label`: an image may have several labels; it may lie in several folders then.

    Raises UsageError where they have no labels yet, or one each where several were wanted, and the other way round.
    """
    new = _read_new(folder, "wanted" if multi_label and folder.is_dir() else "known")
    if new.multi_label != multi_label:
        kinds = ("one label", "several labels")
        raise UsageError(
            f"{folder} has {kinds[new.multi_label]} an image, and the data set {kinds[multi_label]}; label the images "
            "as the data set has them (a column label, or labels: cat|dog), or split class folders with `data split "
            "--multi-label` first"
        )
    return new


def _read_new(folder: Path, several_labels: SeveralLabels) -> DataSplit:
    table = folder / LABELS if folder.is_dir() else folder
    if folder.is_dir() and table.is_file():
        return _labelled_rows(table)
    try:
        return read_dataset(folder, fewest_classes=1, several_labels=several_labels)
    except DataError as error:
        if folder.is_dir() and not any(place.is_dir() for place in folder.iterdir()):
            raise UsageError(
                f"the images in {folder} have no labels yet: `edgeclf data add {folder} --sheet` writes {LABELS} to "
                "fill in; or sort them into a folder a class"
            ) from error
        raise


def _labelled_rows(table: Path) -> DataSplit:
    """The rows of labels.csv that are filled in. Raises UsageError where none is."""
    if not any(cell_of_labels(row).strip() for _, row in read_rows(table, several=True)):
        raise UsageError(f"{table}: no row has a label yet; write the right class into the column label, or labels")
    rows = read_table(table, skip_unlabelled=True)
    return DataSplit(root=table.parent, classes=rows.classes, images=rows.images, multi_label=rows.multi_label)
