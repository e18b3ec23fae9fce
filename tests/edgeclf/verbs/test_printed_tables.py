"""What verbs print for people, from values made by hand: tables are short, and say what they leave out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeclf.data.co_occurrence import LabelPair, LabelStatistics
from edgeclf.data.label_suspects import Doubt, LabelSuspect
from edgeclf.data.usable import Unreadable
from edgeclf.training.label_review import LabelReview
from edgeclf.verbs.data import review
from edgeclf.verbs.shared import data_tables
from edgeclf.verbs.shared.label_tables import label_table
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.metrics.multilabel import evaluate_labels

Capture = pytest.CaptureFixture[str]
CAT = LabelledImage(Path("/photos"), "cat/0.png", ("cat",), split="train")
BOTH = LabelledImage(Path("/photos"), "both/1.png", ("cat", "dog"), split="train")


def data_of(*images: LabelledImage, classes: tuple[str, ...] = ("cat", "dog"), multi_label: bool = False) -> DataSplit:
    return DataSplit(root=Path("/photos"), classes=classes, images=images, multi_label=multi_label)


@pytest.mark.parametrize(
    ("suspect", "told"),
    [
        (LabelSuspect(CAT, "dog", 0.1, 0.8), ("cat/0.png", "cat", "10.0%", "dog", "80.0%")),
        (
            LabelSuspect(BOTH, "cat", 0.1, 0.9, (Doubt("dog", "superfluous", 0.1),)),
            ("both/1.png", "cat + dog", "superfluous dog", "90.0%"),
        ),
    ],
)
def test_a_review_shows_its_suspects_and_ends_with_what_to_do(
    suspect: LabelSuspect, told: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    several = bool(suspect.doubts)
    damaged = (Unreadable("bad.png", "truncated"),)
    found = LabelReview((suspect,), 30, 0.9, 6, ("eel",), damaged)
    review._show(found.suspects)
    review._end(found, found.suspects, tmp_path / "review", data_of(suspect.image, multi_label=several))
    printed = capsys.readouterr()
    assert all(each in printed.out for each in told)
    for line in (
        "bad.png: truncated",
        "mAP of 0.900" if several else "given label of 90.0% of all",
        "6 test images left alone",
        "warning: too few images to review 'eel'",
        f"edit the column {'labels' if several else 'label'} first",
    ):
        assert line in printed.err


def test_a_review_that_doubts_nothing_shows_no_table(tmp_path: Path, capsys: Capture) -> None:
    found = LabelReview((), 30, 1.0, 0, (), ())
    review._show(found.suspects)
    review._end(found, (), tmp_path / "review", data_of(CAT))
    printed = capsys.readouterr()
    assert printed.out == "" and "0 are doubted" in printed.err and "test image" not in printed.err


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("classes", "more"), [(3, ""), (42, "and 2 more")])
def test_a_split_of_many_classes_is_shown_in_part(several: bool, classes: int, more: str, capsys: Capture) -> None:
    names = tuple(f"class-{number:02d}" for number in range(classes))
    images = [replace(CAT, name=f"{name}.png", labels=(name,)) for name in names]
    images += [replace(CAT, name="none.png", labels=())] if several else []
    data_tables.show_split(data_of(*images, classes=names, multi_label=several))
    printed = capsys.readouterr().out
    assert "class-02" in printed and "class-41" not in printed
    assert (more in printed) and ("no label" in printed) is several
    if more:
        assert f"{more} {'labels' if several else 'classes'}" in printed


@pytest.mark.parametrize("pairs", [0, 3, 12])
def test_labels_that_go_together_are_shown_the_most_frequent_first(pairs: int, capsys: Capture) -> None:
    met = tuple(LabelPair("cat", f"label-{number:02d}", 5, 0.5, 0.25, 1.5) for number in range(pairs))
    apart, rare = (1, ()) if pairs == 3 else (4, ("eel",))
    data_tables._show_labels(LabelStatistics(20, 1.5, 2, 0, 7, met, apart, rare))
    printed = capsys.readouterr().out
    assert ("cat + label-00" in printed) is (pairs > 0) and "label-11" not in printed
    assert ("of 12 most frequent pairs" in printed) is (pairs == 12)
    assert ("1 pair of labels never meets" in printed) is (pairs == 3)
    assert ("fewer than 10 images: 'eel'" in printed) is (pairs != 3)


@pytest.mark.parametrize("labels", [3, 40])
def test_of_many_labels_those_with_the_smallest_precision_are_shown(labels: int) -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, (30, labels))
    found = evaluate_labels(random.normal(0, 1, targets.shape), targets, [f"label-{n}" for n in range(labels)])
    first_cells = [cells[0].plain for cells, _ in label_table(found).rows]
    assert ("… the 30 of 40 labels with the smallest AP" in first_cells) is (labels == 40)
