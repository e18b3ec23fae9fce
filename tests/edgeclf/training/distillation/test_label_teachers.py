"""A teacher of several labels an image: what its student learns of images that nobody labelled."""

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

from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]


def test_a_teacher_alone_gives_the_labels_and_its_student_says_what_its_thresholds_rest_on(
    tagger: Run, config: Make, tags: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    chosen, progress = config(teacher=str(tagger.path), unlabelled=str(tags.root), epochs=1), recorder()
    student = train(chosen, None, tmp_path / "student", progress)
    data, exportable = student.data(), tagger.exportable(several_labels="known")
    assert data.multi_label and student.without_labels and len(data.images) == len(tags.images)
    logits = exportable.run_reference(np.stack([image.load(exportable.pixels) for image in data.images]))
    tempered = 1 / (1 + np.exp(-logits.astype(np.float64) / tagger.outcome().temperature))
    predicted = tempered >= np.array(tagger.outcome().thresholds.per_class)
    assert [set(image.labels or ()) for image in data.images] == [
        {label for label, there in zip(data.classes, row, strict=True) if there} for row in predicted
    ]
    assert 4 <= len(data.of("val")) <= 8 and student.outcome().temperature == 1.0
    assert any("the teacher's predictions at its own thresholds as the truth" in note for note in progress.notes)
    assert any("validation figures are agreement with it" in note for note in progress.notes)
    exported = student.exportable(several_labels="known").data
    assert exported is not None and {image.labels for image in exported.split.images} == {None}
    high = tmp_path / "sure"
    shutil.copytree(tagger.path, high)
    outcome = json.loads((high / "model.json").read_text())
    outcome["thresholds"]["per_class"] = [1.0] * 3
    (high / "model.json").write_text(json.dumps(outcome))
    with pytest.raises(DataError, match="predicts no label of any image"):
        train(replace(chosen, teacher=str(high)), None, tmp_path / "nothing")


def test_images_that_nobody_labelled_learn_from_the_teacher_alone_beside_labelled_ones(
    tagger: Run, config: Make, tags: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    few = replace(tags, images=tuple(image for image in tags.images if image not in tags.of("train")[::2]))
    chosen = config(teacher=str(tagger.path), unlabelled=str(tags.root), mixup=0.4, epochs=1, head_epochs=2)
    whole = train(chosen, few, tmp_path / "whole", recorder())
    more = len(tags.images) - len(few.images)
    assert whole.teacher().info.unlabelled == more  # type: ignore[union-attr]
    assert whole.outcome().training_images == len(few.of("train")) + more
    with pytest.raises(KeyboardInterrupt):
        train(chosen, few, tmp_path / "parts", recorder(stop_after=2))
    parts = resume(tmp_path / "parts").weights()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.weights().items())
