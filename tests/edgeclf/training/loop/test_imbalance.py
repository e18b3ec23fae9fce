"""With class weights, rare classes of imbalanced data are learned, with label smoothing as without it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf.data.balance import balance_warnings
from edgeclf.data.split import open_data
from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.train import train
from edgeclf_runtime.images.data_split import DataSplit

COLOURS = ((200, 60, 50), (60, 60, 200), (60, 190, 70))
LOPSIDED = [(60, 2), (15, 1), (80, 2, 2)]  # 30:1, 15:1, three classes at 40:1
OPTIONS: list[dict[str, Any]] = [{"label_smoothing": 0.0}, {"loss": "focal"}, {"batch_size": 8}]
OFTEN = [(LOPSIDED[0], {}), (LOPSIDED[2], {}), (LOPSIDED[0], {"loss": "focal"})]
Train = Callable[..., Run]


def plain_colours(root: Path, counts: tuple[int, ...]) -> DataSplit:
    """So many training images of each colour, with a little noise, and ten validation images of each."""
    random = np.random.default_rng(0)
    for split, images in (("train", counts), ("val", (10,) * len(counts))):
        for colour, count in zip(COLOURS, images, strict=False):
            folder = root / split / "{:02x}{:02x}{:02x}".format(*colour)
            folder.mkdir(parents=True)
            for number in range(count):
                noise = random.integers(-12, 12, (32, 32, 3))
                Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(folder / f"{number}.png")
    return open_data(root)


@pytest.fixture
def learn(tmp_path: Path) -> Train:
    """Trains the head of a small network on imbalanced colours: (counts, options of TrainConfig) -> run."""

    def start(counts: tuple[int, ...], **changes: Any) -> Run:
        options: dict[str, Any] = {"model": "test_resnet", "weights": "random", "img_size": 32, "workers": 0}
        options |= {"device": "cpu", "augment": "none", "strategy": "linear-probe", "epochs": 30, "drop": 0.0}
        options |= {"optimizer": "sgd", "head_lr": 0.05, "class_weights": "balanced", **changes}
        return train(TrainConfig(**options), plain_colours(tmp_path / "data", counts), tmp_path / "run")

    return start


@pytest.mark.parametrize(
    ("counts", "options"),
    [
        pytest.param(*each, marks=[] if each in OFTEN else pytest.mark.slow)
        for each in product(LOPSIDED, ({}, *OPTIONS))
    ],
    ids=str,
)
def test_balanced_weights_teach_every_class(counts: tuple[int, ...], options: dict[str, Any], learn: Train) -> None:
    assert learn(counts, **options).history()[-1]["val_top1"] == 1.0


@pytest.mark.parametrize("options", [{"mixup": 0.4}, pytest.param({"cutmix": 1.0}, marks=pytest.mark.slow)], ids=str)
def test_balanced_weights_teach_every_class_from_mixed_images(options: dict[str, Any], learn: Train) -> None:
    rates: dict[str, Any] = {"model": "test_efficientnet_ln", "strategy": "full", "optimizer": "adamw", "lr": 3e-3}
    assert learn((60, 2), **rates, epochs=4, **options).history()[-1]["val_top1"] == 1.0


def test_the_class_weights_that_data_check_advises_at_20_to_1_help(learn: Train) -> None:
    (advice, _) = balance_warnings({"c83c32": 60, "3c3cc8": 2})
    assert "train with class weights" in advice
    assert learn((60, 2)).outcome().scores["val_macro_f1"] == 1.0


def test_summed_batches_learn_what_one_batch_does(tmp_path: Path, learn: Train) -> None:
    """Batches of 8 in steps of four are batches of 32, whichever classes each of the eight images has."""
    # 64 images: two steps an epoch either way
    summed = learn((60, 4), batch_size=8, accumulate=4, epochs=2)
    (tmp_path / "run").rename(tmp_path / "summed")
    (tmp_path / "data").rename(tmp_path / "data of it")
    whole = learn((60, 4), batch_size=32, epochs=2)
    found, wanted = Run(tmp_path / "summed").weights(), whole.weights()
    assert summed.path == whole.path
    assert all(np.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)
