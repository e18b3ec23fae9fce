"""Every backbone that `edgeclf models` lists trains: two batches, the whole network, at its own image size."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from edgeclf.training.config import TrainConfig
from edgeclf.training.train import train
from edgeclf_export.sources.model_zoo import CLASSICS, EDGE
from edgeclf_runtime.images.data_split import DataSplit


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["two-phase", "discriminative"])
@pytest.mark.parametrize("name", [*CLASSICS, *EDGE])
def test_each_listed_backbone_trains(name: str, strategy: str, data: DataSplit, tmp_path: Path) -> None:
    config = TrainConfig(model=name, weights="random", strategy=strategy, epochs=1, batch_size=12, workers=0)
    run = train(config, data, tmp_path / "run")
    assert run.finished and np.isfinite(run.history()[-1]["train_loss"])
    gc.collect()
