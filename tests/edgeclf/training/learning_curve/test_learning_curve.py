"""A learning curve: every approach on every part of the training images, kept point by point."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeclf.cli import run as cli_run
from edgeclf.data.split import open_data
from edgeclf.training import kept_runs
from edgeclf.training.config import TrainConfig
from edgeclf.training.learning_curve.curve import (
    BASELINE,
    LearningCurve,
    Plan,
    Point,
    load_curve,
    plan_curve,
    resume_curve,
    start_curve,
)
from edgeclf.training.learning_curve.page import learning_page
from edgeclf.training.learning_curve.plot import draw_learning_curve
from edgeclf.training.learning_curve.tables import needs_table, points_table
from edgeclf.training.run.run import Run
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.metrics.intervals import Interval, wilson

Make = Callable[..., TrainConfig]
COUNTS = {0.5: 12, 1.0: 24}


@pytest.fixture
def plan(config: Make) -> Plan:
    """Two strategies and the baseline on half and on all of the discs."""
    return Plan(
        trainings=(config(strategy="linear-probe"), config(strategy="full", epochs=1)),
        baseline=True,
        fractions=(0.5, 1.0),
    )


def options(config: TrainConfig, **changes: Any) -> dict[str, Any]:
    return {**{field.name: getattr(config, field.name) for field in fields(TrainConfig)}, **changes}


def test_every_approach_is_evaluated_on_every_part_of_the_training_images(
    plan: Plan, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    watcher = recorder()
    curve = start_curve(plan, data, tmp_path / "curve", watcher)
    assert curve.complete and curve.approaches == (BASELINE, "linear-probe", "full")
    assert [(point.approach, point.fraction, point.images) for point in curve.points] == [
        (approach, fraction, COUNTS[fraction]) for fraction in (0.5, 1.0) for approach in curve.approaches
    ]
    assert curve.judged_on == "val" and curve.judged_images == len(data.of("val")) and curve.selected_here
    for point in curve.points:
        assert point.interval == wilson(point.accuracy * curve.judged_images, curve.judged_images)
        assert point.training_seconds >= 0 and (tmp_path / "curve" / point.path).is_dir()
        if point.approach != BASELINE:
            run = Run.open(tmp_path / "curve" / point.path)
            assert run.outcome().training_images == point.images and run.data().of("val") == data.of("val")
            assert run.outcome().scores["val_top1"] == pytest.approx(point.accuracy)
            assert run.data().of("test") == data.of("test")
        else:
            bundle = Bundle.open(tmp_path / "curve" / point.path)
            assert bundle.manifest.provenance.weights == f"trained on {point.images} images of {data.name}"
    assert not list((tmp_path / "curve").rglob("test-uses.jsonl"))
    assert any("point 6 of 6: full on 24 images" in text for text in watcher.notes)
    assert load_curve(tmp_path / "curve") == curve


def test_a_use_of_test_images_is_counted_once_a_point(plan: Plan, data: DataSplit, tmp_path: Path) -> None:
    fewer = replace(plan, trainings=plan.trainings[:1], fractions=(1.0,), judged_on="test")
    curve = start_curve(fewer, data, tmp_path / "curve")
    assert curve.judged_images == len(data.of("test")) and not curve.selected_here
    uses = list((tmp_path / "curve").rglob("test-uses.jsonl"))
    assert len(uses) == 2 and all(path.read_text().count("\n") == 1 for path in uses)


def test_an_interrupted_curve_keeps_its_points_and_goes_on(
    plan: Plan, data: DataSplit, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        start_curve(plan, data, tmp_path / "curve", recorder(stop_after=3))  # in the last epoch of the third point
    begun = load_curve(tmp_path / "curve")
    assert [point.approach for point in begun.points] == [BASELINE, "linear-probe"] and not begun.complete
    with pytest.raises(UsageError, match=r"holds a learning curve; go on with --resume"):
        start_curve(plan, data, tmp_path / "curve")
    trained: list[Path] = []
    train = kept_runs.train

    def watched(config: TrainConfig, subset: DataSplit, path: Path, *rest: Any) -> Run:
        trained.append(path)
        return train(config, subset, path, *rest)

    monkeypatch.setattr(kept_runs, "train", watched)
    curve = resume_curve(tmp_path / "curve")
    assert curve.complete and curve.points[:2] == begun.points
    assert [path.name for path in trained] == ["linear-probe-1", "full-1"]  # full-0.5 went on from its checkpoint
    assert resume_curve(tmp_path / "curve") == curve


def test_a_fraction_that_leaves_a_class_empty_is_refused_before_anything_is_trained(
    plan: Plan, data: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"0\.01 leaves the class 'blue' without a training image"):
        start_curve(replace(plan, fractions=(0.01, 1.0)), data, tmp_path / "curve")
    unjudged = replace(data, images=tuple(item for item in data.images if item.split != "val"))
    with pytest.raises(DataError, match="no validation images to evaluate on"):
        start_curve(plan, unjudged, tmp_path / "curve")
    assert not (tmp_path / "curve").exists()


def test_options_go_to_the_strategies_that_know_them(config: Make) -> None:
    shared = options(config(), epochs=7, head_epochs=3, layer_decay=0.7, lr=1e-4, ema=0.9)
    plan = plan_curve(shared, ["hog-svm", "linear-probe", "two-phase", "discriminative"], (1.0,))
    probe, two_phase, discriminative = plan.trainings
    assert (probe.epochs, probe.head_epochs, probe.lr, probe.ema, probe.layer_decay) == (3, None, None, 0.0, None)
    assert (two_phase.epochs, two_phase.head_epochs, two_phase.lr, two_phase.layer_decay) == (7, 3, 1e-4, None)
    assert (discriminative.head_epochs, discriminative.layer_decay, discriminative.ema) == (None, 0.7, 0.9)
    assert plan.baseline and plan.approaches[0] == BASELINE
    alone = plan_curve(options(config(), epochs=7, head_epochs=None, lr=1e-2), ["linear-probe"], (1.0,))
    assert (alone.trainings[0].epochs, alone.trainings[0].lr) == (7, 1e-2)
    with pytest.raises(UsageError, match="head epochs are for the strategy two-phase"):
        plan_curve(options(config(), head_epochs=3), ["full", "discriminative"], (1.0,))


@pytest.mark.parametrize(
    ("approaches", "message"),
    [(["hog-svm"], "trains no network"), (["full", "full"], "twice"), (["full", "hog"], "no strategy 'hog'")],
)
def test_contradictory_strategies_are_usage_errors(approaches: list[str], message: str, config: Make) -> None:
    with pytest.raises(UsageError, match=message):
        plan_curve(options(config(), head_epochs=None), approaches, (1.0,))


def made_curve(*points: tuple[str, int, float], evaluated: int = 400) -> LearningCurve:
    return LearningCurve(
        created_utc="2026-01-02T03:04:05Z",
        model="net<b>",
        data="images",
        data_sha256="0",
        judged_on="val",
        judged_images=evaluated,
        selected_here=True,
        complete=True,
        points=tuple(
            Point(
                approach=approach,
                fraction=images / 1000,
                images=images,
                accuracy=accuracy,
                interval=wilson(accuracy * evaluated, evaluated),
                macro_f1=accuracy,
                training_seconds=images / 10,
                path=f"{approach}-{images}",
            )
            for approach, images, accuracy in points
        ),
        machine={"cpu": "one"},
    )


def test_data_needed_is_the_fewest_images_whose_interval_reaches_the_best() -> None:
    curve = made_curve(
        (BASELINE, 100, 0.5),
        (BASELINE, 1000, 0.6),
        ("full", 100, 0.52),
        ("full", 500, 0.88),
        ("full", 1000, 0.90),
    )
    rows = {row[0]: row for row in needs_table(curve).rows}
    assert rows["full"][1] == "500" and rows["full"][2].startswith("0.900 [") and rows["full"][4] == "50.0 s"
    assert rows["full"][3] == "1,000"  # at 100 images they are not apart, at 500 the baseline was not measured
    assert rows[BASELINE][1] == "1,000" and rows[BASELINE][3] == "the baseline"
    assert [row[0] for row in points_table(curve).rows] == [BASELINE] * 2 + ["full"] * 3


def test_page_and_plot_hold_every_point_and_show_names_as_text(tmp_path: Path) -> None:
    curve = made_curve((BASELINE, 100, 0.5), ("linear-probe", 100, 0.7), ("linear-probe", 1000, 0.8))
    alone = replace(curve.points[0], interval=None, training_seconds=0.0)
    curve = replace(curve, points=(alone, *curve.points[1:]))
    draw_learning_curve(curve, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as plot:
        assert plot.size[0] > 1000
    page = learning_page(curve, (tmp_path / "curve.png").read_bytes())
    assert "net&lt;b&gt;" in page and "<b>" not in page and "<script" not in page
    assert "selected on these images" in page and "0.700" in page and "linear-<wbr>probe-<wbr>1000" in page
    assert set(re.findall(r'(?:src|href)="([^":]*)', page)) == {"data"}


def test_train_draws_a_curve_and_resumes_it(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    command = ["train", str(discs), "-m", "test_resnet", "--weights", "random"]
    command += ["--img-size", "32", "--strategy", "linear-probe,hog-svm", "--epochs", "2", "--workers", "0"]
    assert cli_run([*command, "--fraction", "0.5,1", "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["schema"] == 1 and document["verb"] == "train" and document["curve"]["complete"]
    folder = tmp_path / "runs" / "test_resnet-curve"
    assert document["folder"] == "runs/test_resnet-curve" and len(document["curve"]["points"]) == 4
    assert {"curve.png", "curve.html", "curve.json", "plan.json", "linear-probe-0.5"} <= {
        p.name for p in folder.iterdir()
    }
    assert "edgeclf export runs/test_resnet-curve/linear-probe-" in printed.err


def test_train_refuses_options_that_a_curve_does_not_take(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    base = ["train", str(discs), "-m", "test_resnet", "--weights", "random", "--img-size", "32"]
    for more, message in (
        (["--strategy", "linear-probe,full"], "choose one, or compare them with --fraction"),
        (["--strategy", "linear-probe,hog-svm", "--fraction", "0.01,1"], "leaves the class 'blue' without"),
        (["--strategy", "linear-probe", "--fraction", "2"], "must lie above 0 and be at most 1"),
        (
            ["--strategy", "full", "--fraction", "1", "--evaluate-on", "train"],
            "--evaluate-on takes no 'train'; choose one of val, test",
        ),
    ):
        assert cli_run([*base, *more]) == 2
        stderr = capsys.readouterr().err.strip()
        assert message in stderr and "\n" not in stderr
    assert cli_run(["train", "--resume", "runs/x", "--fraction", "1"]) == 2
    assert "leave out --fraction" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_points_interval_takes_groups_into_account(plan: Plan, discs: Path, tmp_path: Path) -> None:
    data = open_data(discs, seed=0)
    items = enumerate(data.images)
    pairs = tuple(replace(item, group=f"{item.split}{item.label}{number // 2}") for number, item in items)
    grouped = replace(data, images=pairs)
    curve = start_curve(
        replace(plan, trainings=plan.trainings[:1], baseline=False, fractions=(1.0,)), grouped, tmp_path / "c"
    )
    found = curve.points[0].interval
    assert found is None or (isinstance(found, Interval) and "groups" in found.method)
