"""`eval` of a run knows by their bytes which images trained it and which selected its best epoch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeclf.cli import run as cli_run
from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.train import train
from edgeclf_runtime.images.data_split import DataSplit


@pytest.fixture
def trained(config: Callable[..., TrainConfig], data: DataSplit, tmp_path: Path) -> Run:
    return train(config(strategy="linear-probe"), data, tmp_path / "run")


def evaluated(run: Run, *arguments: Any) -> dict[str, Any]:
    place = run.path.parent / "report"
    assert cli_run(["eval", str(run.path), *map(str, arguments), "-o", str(place), "--force"]) == 0
    report: dict[str, Any] = json.loads((place / "report.json").read_text())
    return report


def test_its_own_folder_keeps_the_split_of_the_training_moved_and_with_another_seed(
    trained: Run, data: DataSplit, discs: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(discs, tmp_path / "moved")
    found = evaluated(trained, moved, "--seed", "9")
    assert (found["origin"], found["evaluation"]["images"]) == ("own", len(data.of("test")))
    assert found["evaluation"] == evaluated(trained)["evaluation"] and not found["other_data"]


def test_validation_images_selected_it_and_test_images_did_not(
    trained: Run, data: DataSplit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(trained, "--split", "val")["selected_on"] == len(data.of("val"))
    assert "(selected on these images: the best epoch" in capsys.readouterr().out
    assert evaluated(trained)["selected_on"] == 0
    assert "selected on" not in capsys.readouterr().out


def test_a_held_out_folder_is_whole_and_training_images_in_it_are_reported(
    trained: Run, data: DataSplit, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "held-out"
    for item in data.of("test"):
        (folder / item.label).mkdir(parents=True, exist_ok=True)
        content = item.path.read_bytes()
        (folder / item.label / Path(item.name).name).write_bytes(content + b"not the same file")
    found = evaluated(trained, folder)
    assert (found["origin"], found["other_data"]) == ("whole", False)
    assert found["evaluation"]["images"] == len(data.of("test"))
    assert "trained on another split" not in capsys.readouterr().err
    learnt = data.of("train")[0]
    shutil.copyfile(learnt.path, folder / learnt.label / "learnt.png")
    assert evaluated(trained, folder)["other_data"]
    assert "its training images are among" in capsys.readouterr().err
