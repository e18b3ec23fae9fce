"""What verbs print for people, from values made by hand: tables are short, and say what they leave out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf.data.co_occurrence import LabelPair, LabelStatistics
from edgeclf.data.labelling.suspects import Doubt, LabelSuspect
from edgeclf.data.usable import Unreadable
from edgeclf.inspection import inspect_bundle
from edgeclf.training.label_review import LabelReview
from edgeclf.verbs.data import review
from edgeclf.verbs.shared import data_tables, ladder_table
from edgeclf.verbs.shared.inspection_tables import show_inspection
from edgeclf.verbs.shared.label_tables import label_table
from edgeclf_runtime.bundle.manifest import Calibration, Prompts
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, GateEvaluation, Ladder, Sensitivity, Step
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


JUDGED = GateEvaluation(
    54, "validation", True, 0.93, 0.90, 3, 1, -3.0, -5.5, 1.0, 0.01, 0.1, 0.1, 0.1, 1.0, "fail", ("3 points lost",)
)
STEPS = (
    Step("int8 min-max", "int8", "", (), {"int8": 0.9}, 4_600_000, JUDGED, None, 4.0, 0.5),
    Step("int8 percentile", "int8", "", (), None, 0, None, "its outputs are not finite"),
    Step(
        "fp32", "fp32", "", (), {"fp32": 1.0}, 13_900_000, replace(JUDGED, verdict="pass", reasons=()), became="model"
    ),
)
LADDER = Ladder(
    AccuracyGate(),
    STEPS,
    "fp32",
    "no int8 step held",
    (Sensitivity("stem", "Conv", 0.5, 0.1),),
    ("few images",),
    None,
    {},
)


def lines_of(ladder: Ladder) -> str:
    return "\n".join(each.plain for each in ladder_table.remarks(ladder))


def test_a_ladder_says_why_each_step_failed_and_which_layers_are_sensitive() -> None:
    told = lines_of(LADDER)
    assert told.startswith("fp32: no int8 step held")
    assert "int8 min-max failed: 3 points lost" in told
    assert "not evaluated on test images: the figures are on the images that chose the step" in told
    assert "most sensitive to int8: stem (Conv, KL 0.5)" in told
    cells = [[cell.plain for cell in row] for row, _ in ladder_table.ladder_table(LADDER).rows]
    assert cells[0][2:9] == ["0.900", "-3.00", "-5.50", "1.0e-02", "90%", "4.6 MB", "4.00 ms (2.00x)"]
    assert cells[1][2:] == [*["–"] * 7, "its outputs are not finite", "failed"]
    assert cells[2][-2:] == ["✓ pass", "model"]


@pytest.mark.parametrize(("metric", "name"), [("top-1", "agreement"), ("mAP", "agreement (mAP)")])
def test_without_labels_a_ladder_shows_agreement(metric: Any, name: str) -> None:
    unlabelled = replace(JUDGED, labelled=False, metric=metric)
    ladder = replace(LADDER, rungs=(replace(STEPS[0], judged=unlabelled),), final=unlabelled, blame=())
    assert ladder_table.ladder_table(ladder).headings[2] == name
    assert f"on test images: {name} 0.900 (reference 0.930), -3.00 points" in lines_of(ladder)


def test_an_inconclusive_ladder_warns_with_the_images_that_would_settle_it(capsys: Capture) -> None:
    open_end = replace(JUDGED, verdict="inconclusive", reasons=("too few images",), images_needed=2000)
    step = replace(STEPS[0], judged=open_end, became="model")
    ladder_table.warn_inconclusive(replace(LADDER, rungs=(step,), chosen=step.name), "bundles/cats")
    told = capsys.readouterr().err
    assert "warning: few images" in told
    assert "INCONCLUSIVE: bundles/cats: too few images (validation); 2,000 images would settle it" in told


def test_inspect_shows_ladder_prompts_calibration_and_where_it_was_built(tmp_path: Path, capsys: Capture) -> None:
    tiny.build(tmp_path / "bundle")
    bundle = tiny.reseal(
        tmp_path / "bundle",
        ladder=LADDER,
        prompts=Prompts(("a photo of a {}.", "a {}"), "openai", "0" * 64, 100.0, -3.5),
        calibration=Calibration("min-max", 54, "0" * 64),
        derived_from="0" * 64,
        built_on={"gpu": "Orin", "engine": "tensorrt", "engine_version": "10.3"},
    )
    show_inspection(inspect_bundle(bundle))
    told = " ".join(capsys.readouterr().out.split())
    for piece in (
        "2 templates (openai): 'a photo of a {}.'; scale 100, bias -3.5",
        "min-max, 54 images",
        "Orin, tensorrt, 10.3",
        "most sensitive to int8: stem",
        "none yet",
    ):
        assert piece in told
