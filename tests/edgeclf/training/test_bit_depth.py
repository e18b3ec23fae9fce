"""12 bits in 16-bit files: found, reported with the option to give, carried into run and bundle, never contradicted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf import cli
from edgeclf.data.bit_depth import deep_images
from edgeclf.data.check import check_source
from edgeclf.data.findings import find_faults
from edgeclf.training.run.run import Run

Edgeclf = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 grey images of 16 bits whose values fill 12 of them: a bright disc above, or below."""
    root = tmp_path_factory.mktemp("scans") / "scans"
    random = np.random.default_rng(0)
    for label, top in (("above", 2), ("below", 20)):
        (root / label).mkdir(parents=True)
        for number in range(12):
            values = random.integers(200, 900, (32, 32), dtype=np.uint16)
            values[top : top + 10, 8:24] = random.integers(3500, 4096, (10, 16))
            Image.fromarray(values).save(root / label / f"{number}.png")
    return root


@pytest.fixture
def edgeclf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Edgeclf:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return run


def test_check_and_stats_find_the_bits_in_use_and_say_what_to_type(scans: Path, edgeclf: Edgeclf) -> None:
    assert any(
        each.subject == "bit depth" and "--bit-depth 12" in each.text for each in find_faults(check_source(scans))
    )
    _, checked = edgeclf("data", "check", scans)
    assert f"edgeclf train {scans} --model mobilenetv3_large_100 --bit-depth 12" in checked
    _, reported = edgeclf("data", "check", scans, "--report", "checked")
    assert f"next: edgeclf data split {scans} -o split.json edgeclf train split.json --model" in reported
    assert reported.endswith("--bit-depth 12")
    _, dark = edgeclf("data", "stats", scans)
    assert f"next: edgeclf data stats {scans} --bit-depth 12" in dark
    _, bright = edgeclf("data", "stats", scans, "--bit-depth", 12)
    assert "nearly black" not in bright and "--normalize" in bright and bright.endswith("--bit-depth 12")


def test_files_that_use_all_bits_and_8_bit_values_are_distinguished() -> None:
    assert deep_images([65_000, 1_000]).value_range is None
    assert deep_images([None, None]).value_range is None
    assert deep_images([1_000]).remedy == "--bit-depth 10"
    assert deep_images([255]).remedy == "--window 0,255" and deep_images([255]).value_range == (0, 255)


def test_the_bit_depth_of_the_training_goes_into_run_and_bundle_and_another_is_refused(
    scans: Path, edgeclf: Edgeclf, tmp_path: Path
) -> None:
    from edgeclf_runtime.bundle.bundle import Bundle

    options = ("-m", "test_resnet", "--weights", "random", "--img-size", 32, "--strategy", "linear-probe")
    options = (*options, "--epochs", 1, "--device", "cpu")
    _, dark = edgeclf("train", scans, *options, "--name", "dark")
    assert "nearly black: give --bit-depth 12" in dark
    code, bright = edgeclf("train", scans, *options, "--name", "bright", "--bit-depth", 12)
    assert code == 0 and "nearly black" not in bright
    assert Run(tmp_path / "runs" / "bright").architecture().pixels.value_range == (0, 4095)
    code, stderr = edgeclf("export", "runs/bright", "--window", "0,9000")
    assert code == 2 and "trained on stored values of 0 to 4095" in stderr
    code, stderr = edgeclf("export", "runs/dark", "--bit-depth", 12)
    assert code == 2 and "trained on all bits of its files" in stderr
    assert edgeclf("export", "runs/bright", "-t", "pytorch", "--bit-depth", 12)[0] == 0
    manifest = Bundle.open(tmp_path / "bundles" / "bright-pytorch-fp32").manifest
    assert manifest.pixels is not None and manifest.pixels.value_range == (0, 4095)
