"""The image cache changes nothing that is learned and keeps within its memory; waiting for images is measured."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgeclf.training.config import TrainConfig
from edgeclf.training.inputs import batches
from edgeclf.training.inputs.augment import RECIPES, Augmenter, Switches
from edgeclf.training.inputs.image_cache import decode_once, free_memory
from edgeclf.training.train import train
from edgeclf.training.waiting import Awaited, waiting_share
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.pixels import Pixels

Make = Callable[..., TrainConfig]
PIXELS = Pixels(resize="shorter", resize_px=(36, 36), crop_px=(32, 32), interpolation="bicubic")


@pytest.mark.parametrize("switches", [Switches(), Switches(jitter=0.3, rotate=20.0)])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_cached_image_is_augmented_as_one_that_is_decoded_anew(recipe: str, switches: Switches) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    augmenter = Augmenter(recipe, switches, PIXELS, seed=3)
    kept = np.asarray(augmenter.prepare(image))
    for epoch, index in itertools.product(range(3), range(2)):
        assert np.array_equal(augmenter.finish(kept, epoch, index), augmenter(image, epoch, index))


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.check), 1])
def test_a_training_decodes_once_and_ends_in_the_same_weights(
    workers: int, config: Make, data: DataSplit, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = batches.decode

    def counted(*arguments: Any, **options: Any) -> Any:
        decoded.append(1)  # of this process: data workers have a list of their own
        return decode(*arguments, **options)

    monkeypatch.setattr(batches, "decode", counted)
    found, watcher = {}, recorder()
    for mode in ("on", "off"):
        decoded.clear()
        chosen = config(strategy="full", epochs=3, workers=workers, image_cache=mode, augment="strong")
        found[mode] = train(chosen, data, tmp_path / mode, watcher).weights()
        assert len(decoded) == (len(data.of("train")) if mode == "on" else 0 if workers else 3 * len(data.of("train")))
    assert all(torch.equal(tensor, found["off"][name]) for name, tensor in found["on"].items())
    assert sum("all training images stay decoded in memory" in text for text in watcher.notes) == 1


def test_one_epoch_needs_no_cache(config: Make, data: DataSplit, recorder: Any, tmp_path: Path) -> None:
    watcher = recorder()
    train(config(strategy="full", epochs=1), data, tmp_path / "run", watcher)
    assert not any("decoded" in text for text in watcher.notes)


def test_the_cache_keeps_within_its_budget_and_says_how_much_fits(recorder: Any) -> None:
    def load(index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.full((10, 10, 3), index, dtype=np.uint8)

    watcher = recorder()
    kept = decode_once(load, 100, "on", 300 * 40 + 299, watcher)
    assert sorted(kept) == list(range(40)) and all((image == index).all() for index, image in kept.items())
    assert decode_once(load, 100, "auto", 300 * 99, watcher) == {}
    assert len(decode_once(load, 100, "auto", 300 * 100, watcher)) == 100
    partly, none, everything = watcher.notes
    assert "40 of 100 training images" in partly and "decoded anew" in none and everything.startswith("all")


def test_free_memory_is_that_of_the_control_group_where_it_holds_less(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert free_memory(tmp_path) == 4000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("1000\n")
    for limit, wanted in (("max", 4000 * 1024), ("5000", 4000), ("900", 0), (str(1 << 40), 4000 * 1024)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert free_memory(tmp_path) == wanted


def test_waiting_is_counted_apart_from_computing() -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.01)
            yield number

    awaited = Awaited(slow())
    assert list(awaited) == [0, 1, 2] and awaited.waited_s >= 0.03
    waited_s = awaited.waited_s
    time.sleep(0.01)
    assert awaited.waited_s == waited_s


def test_the_share_of_waiting_is_in_history_outcome_and_notes(
    config: Make, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    watcher = recorder()
    run = train(config(), data, tmp_path / "run", watcher)
    assert all(0 <= line["waiting_s"] <= line["training_s"] <= line["seconds"] for line in run.history())
    share = run.outcome().waiting_share
    assert share == waiting_share(run.history()) and share is not None and 0 < share < 1
    assert sum(text.startswith(f"waiting for images took {share:.0%}") for text in watcher.notes) == 1
    assert train(config(strategy="linear-probe"), data, tmp_path / "probe").outcome().waiting_share is None
