"""Parts of the training images lie within each other, keep classes and groups, and never leave a class empty."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from edgeclf.data.fractions import nested_subsets, parse_fractions
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage


def manifest(*images: LabelledImage) -> DataSplit:
    classes = tuple(sorted({image.label for image in images}))
    return DataSplit(root=Path("/"), classes=classes, images=images)


def images(label: str, count: int, split: str = "train", per_group: int = 0) -> list[LabelledImage]:
    return [
        LabelledImage(
            Path("/"),
            f"{split}/{label}/{number}.png",
            (label,),
            f"{split}{label}{number}",
            f"{label}{number // per_group}" if per_group else None,
            split,  # type: ignore[arg-type]
        )
        for number in range(count)
    ]


@pytest.fixture
def uneven() -> DataSplit:
    """100, 20 and 12 training images of three classes, and some for val and test."""
    others = [item for split in ("val", "test") for label in "abc" for item in images(label, 5, split)]
    return manifest(*images("a", 100), *images("b", 20), *images("c", 12), *others)


def test_classes_keep_their_shares_and_val_and_test_stay_whole(uneven: DataSplit) -> None:
    for fraction, subset in zip((0.1, 0.25, 0.5, 1.0), nested_subsets(uneven, (0.1, 0.25, 0.5, 1.0)), strict=True):
        counts = Counter(item.label for item in subset.of("train"))
        assert counts == {"a": round(100 * fraction), "b": round(20 * fraction), "c": round(12 * fraction)}
        assert subset.of("val") == uneven.of("val") and subset.of("test") == uneven.of("test")
    assert subset == uneven


def test_a_smaller_part_lies_within_a_larger_one_and_follows_from_the_seed(uneven: DataSplit) -> None:
    subsets = nested_subsets(uneven, (0.1, 0.3, 0.31, 0.7))
    for small, large in pairwise(subsets):
        assert set(small.of("train")) <= set(large.of("train"))
    assert subsets == nested_subsets(uneven, (0.1, 0.3, 0.31, 0.7))
    assert subsets[0] != nested_subsets(uneven, (0.1,), seed=1)[0]
    assert nested_subsets(uneven, (0.3,)) == subsets[1:2]


def test_groups_and_copies_are_never_parted() -> None:
    grouped = manifest(*images("a", 60, per_group=5), *images("b", 30, per_group=3))
    for fraction, subset in zip((0.2, 0.5), nested_subsets(grouped, (0.2, 0.5)), strict=True):
        sizes = Counter(item.group for item in subset.of("train"))
        assert all(size == (5 if str(group).startswith("a") else 3) for group, size in sizes.items())
        counts = Counter(item.label for item in subset.of("train"))
        assert abs(counts["a"] - 60 * fraction) <= 2.5 and abs(counts["b"] - 30 * fraction) <= 1.5
    twins = [LabelledImage(Path("/"), f"{n}.png", ("ab"[n % 2],), f"bytes{n // 4}", split="train") for n in range(80)]
    half = nested_subsets(manifest(*twins), (0.5,))[0]
    assert set(Counter(item.sha256 for item in half.of("train")).values()) == {4}


def test_a_fraction_that_leaves_a_class_empty_is_refused_with_the_least_that_does_not(uneven: DataSplit) -> None:
    with pytest.raises(
        UsageError, match=r"0\.03 leaves the class 'c' without a training image \(it has 12\)"
    ) as caught:
        nested_subsets(uneven, (0.03, 0.5))
    least = float(str(caught.value).partition("give ")[2].partition(" or more")[0])
    assert Counter(item.label for item in nested_subsets(uneven, (least,))[0].of("train"))["c"] == 1
    assert caught.value.exit_code == 2


def test_fractions_are_read_once_each_and_smallest_first() -> None:
    assert parse_fractions("1, 0.1,0.25,.1") == (0.1, 0.25, 1.0)
    for wrong in ("a", "0,1", "0.5,1.5", "-0.1", "nan", ""):
        with pytest.raises(UsageError, match="fraction"):
            parse_fractions(wrong)
