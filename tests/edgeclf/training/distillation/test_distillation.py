"""A student learns from its teacher, by stored logits or consistent views, with labels and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgeclf
from edgeclf.training.cautions import warn_of_risks
from edgeclf.training.config import TrainConfig, phases_of
from edgeclf.training.distillation.distillation import teacher_logits
from edgeclf.training.distillation.teacher import open_teacher
from edgeclf.training.distributed import Processes
from edgeclf.training.inputs.batches import TrainingImages
from edgeclf.training.run.evaluate import known_splits
from edgeclf.training.run.run import Run
from edgeclf.training.teaching import begin_lessons, resume_lessons
from edgeclf.training.train import finish, resume, train
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]
CPU = torch.device("cpu")


@pytest.fixture
def unlabelled(data: DataSplit, tmp_path: Path) -> Path:
    """The training images of the discs, and one that can't be read, in one folder."""
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    for image in data.of("train"):
        shutil.copy(image.path, folder / image.name.replace("/", "-"))
    (folder / "torn.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize("strategy", ["linear-probe", "two-phase", "discriminative"])
def test_every_strategy_learns_from_a_teacher_and_the_run_names_it(
    strategy: str, config: Make, data: DataSplit, teacher: Path, recorder: Any, tmp_path: Path
) -> None:
    progress = recorder()
    run = train(config(strategy=strategy, epochs=1, teacher=str(teacher)), data, tmp_path / "run", progress)
    record = run.teacher()
    assert record is not None and record.info.kind == "run" and record.info.name == "teacher"
    assert record.info.top1 == Run(teacher).outcome().scores["val_top1"] and record.info.images == len(data.of("val"))
    assert run.exportable().training.teacher == record.info  # type: ignore[union-attr]
    assert any("at 40x40; it sees each image once" in note for note in progress.notes)


def test_a_student_learns_what_its_teacher_says_rather_than_the_labels_that_have_no_share(
    config: Make, data: DataSplit, teacher: Path, tmp_path: Path
) -> None:
    liar = Path(shutil.copytree(teacher, tmp_path / "liar"))
    network = Run(liar).read_json("network.json")
    Run(liar).write_json("network.json", {**network, "labels": ["green", "red", "blue"]})
    chosen = config(strategy="full", epochs=10, lr=3e-3, teacher=str(liar), teacher_share=1.0)
    run = train(chosen, data, tmp_path / "run")
    assert run.teacher().info.top1 == 0.0  # type: ignore[union-attr]
    assert run.history()[-1]["val_top1"] == 0.0


def test_the_order_of_the_teachers_classes_does_not_matter(
    config: Make, data: DataSplit, teacher: Path, tmp_path: Path
) -> None:
    turned = Path(shutil.copytree(teacher, tmp_path / "turned"))
    run, order = Run(turned), [2, 0, 1]
    network = run.read_json("network.json")
    run.write_json("network.json", {**network, "labels": [network["labels"][place] for place in order]})
    from edgeclf.training.run.checkpoint import save_tensors

    tensors = run.weights()
    save_tensors(
        {name: each[order].clone() if name.startswith("fc.") else each for name, each in tensors.items()},
        turned / "model.safetensors",
    )
    images = TrainingImages.of(data, "val")
    with open_teacher(teacher, CPU) as straight, open_teacher(turned, CPU) as other:
        assert other.labels != straight.labels
        matched = other.for_classes(data.classes, data.root)
        assert np.allclose(teacher_logits(straight, images), teacher_logits(matched, images), atol=1e-5)


def test_a_teacher_of_other_classes_is_refused_with_the_difference(
    config: Make, data: DataSplit, teacher: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(teacher, tmp_path / "other"))
    network = Run(other).read_json("network.json")
    Run(other).write_json("network.json", {**network, "labels": ["blue", "green", "pink"]})
    with pytest.raises(DataError, match=r"only the teacher .*other has 'pink'; only the data .* have 'red'"):
        train(config(teacher=str(other)), data, tmp_path / "run")
    with pytest.raises(DataError, match="no such run or bundle"):
        train(config(teacher="nowhere"), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "consistent"),
    [
        ({}, False),
        ({"mixup": 0.2}, True),
        ({"augment": "strong"}, True),
        ({"augment": "strong", "mixup": 0.0, "cutmix": 0.0}, True),  # crops of 8 % of an image
        ({"augment": "strong", "teacher_views": "stored"}, False),
        ({"teacher_views": "consistent"}, True),
        ({"strategy": "linear-probe", "augment": "strong"}, False),
        ({"augment": "strong", "teacher": None}, False),
    ],
)
def test_the_teacher_sees_views_where_its_logits_of_the_image_would_be_wrong(
    changes: dict[str, Any], consistent: bool, config: Make
) -> None:
    assert config(**{"teacher": "runs/t", **changes}).consistent_views is consistent


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": "t", "teacher_views": "stored", "mixup": 0.2}, "--teacher-views stored beside MixUp: "),
        ({"teacher": "t", "teacher_views": "stored", "cutmix": 0.2}, "--teacher-views stored beside CutMix: "),
        (
            {"teacher": "t", "teacher_views": "stored", "augment": "strong", "mixup": 0.0, "cutmix": 0.0},
            "--teacher-views stored beside the crops of --augment strong: ",
        ),
        ({"teacher": "t", "teacher_views": "stored"}, None),
        ({"teacher": "t", "mixup": 0.2}, None),
        ({"teacher": "t", "teacher_views": "stored", "strategy": "linear-probe", "augment": "strong"}, None),
        ({"teacher_share": 0.5}, "--teacher-share has no effect without --teacher"),
        ({"teacher_temperature": 2.0}, "--teacher-temperature has no effect without --teacher"),
        ({"teacher_views": "stored", "mixup": 0.2}, "--teacher-views has no effect without --teacher"),
        (
            {"teacher": "t", "teacher_views": "consistent", "strategy": "linear-probe"},
            "--teacher-views consistent has no effect with --strategy linear-probe",
        ),
    ],
)
def test_options_of_a_teacher_that_are_wrong_or_without_effect_are_warned_of(
    changes: dict[str, Any], words: str | None, config: Make, data: DataSplit, recorder: Any
) -> None:
    progress = recorder()
    warn_of_risks(config(**changes), data, progress)
    found = [warning for warning in progress.warnings if "--teacher" in warning]
    assert len(found) == (words is not None) and all(warning.startswith(words) for warning in found)


def test_views_that_are_not_augmented_teach_what_stored_logits_do(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    same_size = train(config(strategy="full", epochs=1), data, tmp_path / "teacher")
    chosen = config(strategy="full", augment="none", teacher=str(same_size.path))
    stored = train(replace(chosen, teacher_views="stored"), data, tmp_path / "stored").history()
    views = train(replace(chosen, teacher_views="consistent"), data, tmp_path / "views").history()
    for one, other in zip(stored, views, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "stop_after"),
    [({}, 1), pytest.param({"augment": "strong", "strategy": "full", "ema": 0.9}, 1, marks=pytest.mark.check)],
)
def test_an_interrupted_distillation_goes_on_bit_for_bit(
    changes: dict[str, Any],
    stop_after: int,
    config: Make,
    data: DataSplit,
    teacher: Path,
    recorder: Any,
    tmp_path: Path,
) -> None:
    chosen = config(teacher=str(teacher), **changes)
    whole = train(chosen, data, tmp_path / "whole").weights()
    with pytest.raises(KeyboardInterrupt):
        train(chosen, data, tmp_path / "parts", recorder(stop_after=stop_after))
    parts = resume(tmp_path / "parts").weights()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_teacher_that_changed_or_is_gone_can_not_go_on_teaching_but_the_run_can_be_finished(
    config: Make, data: DataSplit, teacher: Path, recorder: Any, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(teacher, tmp_path / "copy"))
    with pytest.raises(KeyboardInterrupt):
        train(config(teacher=str(copy)), data, tmp_path / "run", recorder(stop_after=4))
    shutil.copy(tmp_path / "run" / "checkpoint" / "tensors.safetensors", tmp_path / "kept")
    other = train(config(img_size=40, strategy="linear-probe"), data, tmp_path / "other")
    shutil.copy(other.path / "model.safetensors", copy)
    with pytest.raises(DataError, match="has changed since this training began"):
        resume(tmp_path / "run")
    shutil.rmtree(copy)
    with pytest.raises(DataError, match="no such run or bundle"):
        resume(tmp_path / "run")
    assert finish(tmp_path / "run").outcome().cut_short


def test_a_folder_without_labels_is_learnt_from_the_teacher_alone(
    config: Make, data: DataSplit, teacher: Path, unlabelled: Path, recorder: Any, tmp_path: Path
) -> None:
    progress = recorder()
    run = train(config(teacher=str(teacher), unlabelled=str(unlabelled)), None, tmp_path / "run", progress)
    info, split = run.teacher().info, run.data()  # type: ignore[union-attr]
    assert info.without_labels and info.top1 is None and info.unlabelled == len(split.of("train"))
    assert len(split.images) == len(data.of("train")) and split.classes == Run(teacher).architecture().labels
    with open_teacher(teacher, CPU) as found:
        images = TrainingImages(split.images, np.zeros(len(split.images), dtype=np.intp))
        wanted = teacher_logits(found, images).argmax(axis=1)
    assert [image.label for image in split.images] == [split.classes[number] for number in wanted]
    assert run.outcome().temperature == 1.0 and run.outcome().temperature_fit is None
    assert any("torn.png" in sentence for sentence in progress.warnings)
    assert any("agreement with it" in note for note in progress.notes)
    exported = run.exportable().data
    assert exported is not None and {image.labels for image in exported.split.images} == {None}


def test_what_a_teacher_says_of_images_without_labels_is_the_same_in_every_bit_when_training_goes_on(
    config: Make, teacher: Path, unlabelled: Path, recorder: Any, tmp_path: Path
) -> None:
    chosen = config(teacher=str(teacher), unlabelled=str(unlabelled))
    with begin_lessons(chosen, None, Processes(), recorder()) as lessons:
        first, every = lessons.distillation, torch.arange(len(lessons.data.of("train")))
        assert first is not None
        wanted = first.stored(every)
    with pytest.raises(KeyboardInterrupt):
        train(chosen, None, tmp_path / "run", recorder(stop_after=4))
    run = Run(tmp_path / "run")
    with resume_lessons(run, chosen, run.usable_data(), Processes(), recorder(), strict=False) as lessons:
        again = lessons.distillation
        assert again is not None and torch.equal(again.stored(every), wanted)


def test_labels_that_only_the_teacher_gave_are_not_evaluated_on(
    config: Make, teacher: Path, unlabelled: Path, tmp_path: Path
) -> None:
    from edgeclf.listing import list_folder
    from edgeclf.training.evaluate import evaluate
    from edgeclf.training.evaluate_options import EvaluateOptions

    chosen = config(teacher=str(teacher), unlabelled=str(unlabelled), strategy="linear-probe", epochs=1)
    run = train(chosen, None, tmp_path / "run")
    for options in (EvaluateOptions(split="val"), EvaluateOptions(split="val", operating_point="precision=0.9")):
        with pytest.raises(UsageError, match="trained without labels"):
            evaluate(run.path, options=replace(options, output=tmp_path / "report"))
    (listed,) = list_folder(run.path)
    assert "agreement with its teacher" in listed.accuracy and "taught by teacher" in listed.model


def test_unlabelled_images_beside_labelled_ones_are_those_that_the_data_does_not_hold(
    config: Make, data: DataSplit, teacher: Path, unlabelled: Path, recorder: Any, tmp_path: Path
) -> None:
    few = replace(data, images=tuple(image for image in data.images if image not in data.of("train")[::2]))
    more = len(data.of("train")) - len(few.of("train"))
    shutil.copy(data.of("test")[0].path, unlabelled / "held-out.png")
    chosen, progress = config(teacher=str(teacher), unlabelled=str(unlabelled), mixup=0.4), recorder()
    whole = train(chosen, few, tmp_path / "run", progress)
    assert whole.outcome().training_images == len(data.of("train"))
    assert whole.teacher().info.unlabelled == more  # type: ignore[union-attr]
    assert any("1 of them held out to validate or test; they are left out" in each for each in progress.warnings)
    with pytest.raises(KeyboardInterrupt):
        train(chosen, few, tmp_path / "parts", recorder(stop_after=4))
    parts = resume(tmp_path / "parts").weights()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.weights().items())
    beside = {image.sha256 for image in whole.unlabelled().images}  # type: ignore[union-attr]
    assert len(beside) == more and beside <= {image for image, split in known_splits(whole).items() if split == "train"}
    with open_teacher(whole.path, CPU) as found:
        assert beside < found.trained_on


def test_images_that_nobody_can_name_are_refused(config: Make, data: DataSplit, teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in it"):
        train(config(teacher=str(teacher), unlabelled=str(tmp_path / "empty")), None, tmp_path / "run")
    with pytest.raises(DataError, match="no such run or bundle to learn from"):  # before weights are looked for
        edgeclf.train(None, config(weights="gone.pth", teacher="gone", unlabelled=str(tmp_path)), folder=tmp_path / "r")
    with pytest.raises(UsageError, match="found nothing there"):  # so, too
        edgeclf.train(None, config(weights="gone.pth", teacher=str(teacher), unlabelled="gone"), folder=tmp_path / "r")
    with pytest.raises(UsageError, match="--teacher beside --unlabelled"):
        config(unlabelled="images")
    with pytest.raises(UsageError, match="--sampler weighted needs the class of every image"):
        config(teacher="t", unlabelled="images", sampler="weighted")
    for changes in ({"teacher_share": 0.0}, {"teacher_share": 1.5}, {"teacher_temperature": 0.0}):
        with pytest.raises(UsageError, match=r"teacher (share|temperature) must lie above 0"):
            config(**changes)


def test_a_teacher_that_is_worse_than_its_student_is_said_with_figures(
    config: Make, data: DataSplit, teacher: Path, recorder: Any, tmp_path: Path
) -> None:
    poor = train(config(strategy="linear-probe", epochs=1), data, tmp_path / "poor")
    progress, known = recorder(), str(teacher / "model.safetensors")
    chosen = config(strategy="full", epochs=3, lr=3e-3, weights=known, teacher=str(poor.path), teacher_share=0.05)
    good = train(chosen, data, tmp_path / "good", progress)
    (sentence,) = [each for each in progress.warnings if "worse than its student" in each]
    assert f"against {good.outcome().scores['val_top1']:.3f} on the 6 validation images" in sentence


def test_a_teacher_that_saw_the_images_to_evaluate_on_is_warned_of(
    config: Make, data: DataSplit, teacher: Path, recorder: Any, tmp_path: Path
) -> None:
    swapped = {"train": "val", "val": "train", "test": "test"}
    other = replace(data, images=tuple(replace(i, split=swapped[str(i.split)]) for i in data.images))  # type: ignore[arg-type]
    progress = recorder()
    train(config(strategy="linear-probe", epochs=1, teacher=str(teacher)), other, tmp_path / "run", progress)
    assert any("24 of 24 validation images trained the teacher" in each for each in progress.warnings)


def test_the_head_is_taught_at_temperature_one_and_the_network_at_three_unless_told(config: Make) -> None:
    default, told = config(teacher="t"), config(teacher="t", teacher_temperature=2.0)
    assert [phase.distillation_temperature(default) for phase in phases_of(default)] == [1.0, 3.0]
    assert [phase.distillation_temperature(told) for phase in phases_of(told)] == [2.0, 2.0]


@pytest.mark.slow
def test_a_zero_shot_bundle_teaches_with_its_own_pixels(config: Make, unlabelled: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("open_clip")
    from clip_models import small_clip

    from edgeclf.cli import run as cli_run

    words = ["zeroshot", "red,green,blue", "-m", str(small_clip()), "--templates", "a {} picture", "-o", str(tmp_path)]
    assert cli_run(words) == 0
    (bundle,) = tmp_path.glob("*zeroshot*")
    run = train(config(teacher=str(bundle), unlabelled=str(unlabelled)), None, tmp_path / "run")
    info = run.teacher().info  # type: ignore[union-attr]
    assert info.kind == "zero-shot bundle" and info.sha256 and run.finished
    assert json.loads((bundle / "manifest.json").read_text())["labels"] == list(run.data().classes)
