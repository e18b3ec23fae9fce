"""lr-find: what it suggests trains as well as the best of a grid, and where the loss is all noise it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf import cli
from edgeclf.data.fetching.fetch import fetch_dataset
from edgeclf.data.split import open_data
from edgeclf.training.config import TrainConfig
from edgeclf.training.lr_find import RangeTest, find_lr, read_curves
from edgeclf.training.train import train
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]
RATES = np.geomspace(1e-6, 1, 100)


def noisy_passes(fall: float, noise: float, seed: int, passes: int = 3) -> list[list[float]]:
    """Losses of ten classes that fall around a rate of 1e-3 and explode from 0.1 on, as single batches show them."""
    decades = np.log10(RATES)
    curve = 2.3 - fall / (1 + np.exp(-(decades + 3) / 0.3)) + np.maximum(decades + 1, 0) * 4
    random = np.random.default_rng(seed)
    return [[float(loss) for loss in curve + noise * random.normal(size=len(curve))] for _ in range(passes)]


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_the_suggestion_little(seed: int) -> None:
    found = read_curves(RATES, noisy_passes(1.5, 0.3, seed))
    assert found.problem is None and found.suggestion is not None
    assert 2e-4 < found.suggestion < 5e-3


def test_a_loss_that_falls_no_further_than_its_noise_suggests_nothing() -> None:
    suggested = [read_curves(RATES, noisy_passes(0.0, 0.3, seed)).suggestion for seed in range(100)]
    assert sum(each is not None for each in suggested) <= 1


def test_a_loss_that_explodes_at_once_suggests_nothing() -> None:
    found = read_curves(RATES, [[2.3, 2.4, 9.0], [2.3, 2.2, 2.4, 8.0]])
    assert found.suggestion is None and found.problem is not None and "after 3 steps" in found.problem


def test_without_a_suggestion_the_command_fails_and_its_next_line_names_no_rate(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flat(*_: object) -> RangeTest:
        return read_curves(RATES, noisy_passes(0.0, 0.3, 0))

    monkeypatch.setattr("edgeclf.training.lr_find.find_lr", flat)
    monkeypatch.chdir(tmp_path)
    assert cli.run(["lr-find", str(discs), "-m", "test_resnet", "--weights", "random", "-b", "16"]) == 1
    stderr = capsys.readouterr().err
    assert (
        "no rate can be suggested" in stderr and "--batch-size 16 --strategy full\n" in stderr and "--lr " not in stderr
    )
    assert (tmp_path / "lr-find.png").is_file()
    assert cli.run(["lr-find", str(discs), "-m", "test_resnet", "--weights", "random"]) == 1
    assert "--batch-size" not in capsys.readouterr().err  # train's own


def test_a_small_set_is_passed_through_five_times_from_the_same_weights(config: Make, data: DataSplit) -> None:
    found = find_lr(config(strategy="full"), data, steps=20)
    assert found.passes == 5 and found.losses[0] == pytest.approx(np.log(3), abs=0.4)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DataSplit:
    folder = tmp_path_factory.mktemp("sets") / "digits"
    fetch_dataset("digits", folder)
    return open_data(folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_what_is_suggested_trains_within_two_points_of_the_best_of_a_grid(
    seed: int, config: Make, digits: DataSplit, tmp_path: Path
) -> None:
    def top1(rate: float) -> float:
        chosen = config(strategy="full", epochs=4, batch_size=32, seed=seed, lr=rate)
        return train(chosen, digits, tmp_path / f"{rate:g}").outcome().scores["val_top1"]

    suggested = find_lr(config(strategy="full", batch_size=32, seed=seed), digits).suggestion
    assert suggested is not None
    grid: NDArray[np.float64] = np.array([top1(rate) for rate in (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)])
    assert top1(suggested) >= grid.max() - 0.02
