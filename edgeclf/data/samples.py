"""A labelled image and a data set of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]
SplitOrAll = Literal["test", "val", "train", "all"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SPLIT_NAMES: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image. `group` ties images together that must not be parted: a patient, a film, a burst of shots."""

    path: Path
    label: str
    split: Split | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples whose paths lie under `root`, the sorted names of their classes, and how many other files were seen."""

    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    passed_over: int

    def relative(self, sample: Sample) -> str:
        """The path of a sample from the root, with forward slashes."""
        return sample.path.relative_to(self.root).as_posix()


def parse_split(name: str) -> Split | None:
    """The split that a folder's or a CSV's word means: `valid` and `validation` are `val`. None: no split's name."""
    return _SPLIT_NAMES.get(name.lower())
