"""Former names of the public interface still work, each with a warning that gives the new name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeclf_export import Exportable, Int8Options, load_backbone
from edgeclf_runtime.bundle.quantization_report import AccuracyGate


def test_the_former_name_of_the_gate_sets_it_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"gate="):
        options = Int8Options(floor=AccuracyGate(2.0))
    assert options == Int8Options(gate=AccuracyGate(2.0))


def test_the_former_name_of_run_reference_gives_it_with_a_warning(load: Callable[[str], Exportable]) -> None:
    exportable = load("test_resnet")
    with pytest.warns(DeprecationWarning, match=r"run_reference"):
        assert exportable.answer is exportable.run_reference


def test_the_former_name_of_preprocessing_sets_it_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"preprocessing="):
        former = load_backbone("test_resnet", "random", img_size=64, pictures={"crop_pct": 0.5})
    assert former.pixels == load_backbone("test_resnet", "random", img_size=64, preprocessing={"crop_pct": 0.5}).pixels
    assert former.pixels.resize_px == (128, 128)
