"""A baseline of crops of photographs, and a copy of its bundle to be evaluated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from photo_crops import crop as crop
from photo_crops import data as data
from photo_crops import made as made
from photo_crops import photos as photos

from edgeclf.baselines.baseline import Baseline
from edgeclf.evaluation import plots
from edgeclf_runtime.bundle.bundle import Bundle


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have no plots, which take most of the time of an evaluation."""
    monkeypatch.setattr(plots, "draw_plots", lambda *_: [])


@pytest.fixture
def bundle(made: Baseline, tmp_path: Path) -> Bundle:
    """A copy of the baseline's bundle, with no ledger yet."""
    return Bundle.open(shutil.copytree(made.path, tmp_path / "photos-hog"))
