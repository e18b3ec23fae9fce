"""Augmentation is random in (seed, epoch, index) only, and gives images of the network's size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgeclf.training.inputs.augment import RECIPES, Augmenter, Switches
from edgeclf.training.seeds import seed_of
from edgeclf_runtime.images.pixels import Pixels

PIXELS = Pixels("shorter", (40, 40), (32, 32), "bicubic")
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_an_image_of_the_networks_size(recipe: str) -> None:
    made = Augmenter(recipe, Switches(), PIXELS, 0)(IMAGE, 0, 0)
    assert made.shape == (32, 32, 3) and made.dtype == np.uint8


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "none"])
def test_the_same_seed_epoch_and_index_give_the_same_image_and_others_do_not(recipe: str) -> None:
    first, again = Augmenter(recipe, Switches(), PIXELS, 7), Augmenter(recipe, Switches(), PIXELS, 7)
    first(IMAGE, 3, 1)  # what came before must not matter
    assert np.array_equal(first(IMAGE, 1, 5), again(IMAGE, 1, 5))
    assert len({first(IMAGE, epoch, index).tobytes() for epoch in range(3) for index in range(3)}) > 5


def test_augmenting_leaves_the_global_generator_alone() -> None:
    import torch

    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    Augmenter("strong", Switches(), PIXELS, 0)(IMAGE, 0, 0)
    assert torch.equal(torch.rand(3), wanted)


def test_no_augmentation_is_the_pixels_of_the_device() -> None:
    assert np.array_equal(Augmenter("none", Switches(), PIXELS, 0)(IMAGE, 4, 2), PIXELS.apply(IMAGE))


def test_single_switches_add_to_the_recipe() -> None:
    only_vertical = Augmenter("none", Switches(hflip=False, vflip=True), PIXELS, 0)
    images = {only_vertical(IMAGE, 0, index).tobytes() for index in range(12)}
    plain = PIXELS.apply(IMAGE)
    assert images == {plain.tobytes(), np.ascontiguousarray(plain[::-1]).tobytes()}
    turned = Augmenter("none", Switches(rotate=20, shear=5, jitter=0.3, rand_augment=5), PIXELS, 0)(IMAGE, 0, 0)
    assert turned.shape == (32, 32, 3)


def test_switches_that_may_lower_accuracy_are_warned_of() -> None:
    assert "30" in Switches(rotate=45).warnings()[0]
    assert "up and down" in Switches(vflip=True).warnings()[0]
    assert Switches(rotate=20, hflip=True).warnings() == ()


def test_seeds_depend_on_every_part() -> None:
    assert len({seed_of(a, b) for a in range(20) for b in range(20)}) == 400
    assert seed_of(1, "order", 2) == seed_of(1, "order", 2) < 2**63
