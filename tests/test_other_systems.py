"""What runs without what only Linux or POSIX has, and paths as Windows reads them: no other system has run it yet."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf.data.sources import read_dataset
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.bundle.manifest import check_member_path
from edgeclf_runtime.errors import BundleError, UsageError
from edgeclf_runtime.portable_paths import stays_inside, unportable

EACH_IN_TURN = """
import sys
from edgeclf import cli
for line in sys.argv[1:]:
    print("$", line, file=sys.stderr)
    if code := cli.run(line.split()):
        sys.exit(code)
"""


def run_elsewhere(root: Path, here: Path, *lines: str) -> str:
    """Runs the command lines one after another, in one process that lacks what support/elsewhere takes away."""
    sources = [root / "tests/support/elsewhere", root, root / "runtime", root / "export", root / "benchmarks"]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(map(str, sources))}
    command = [sys.executable, "-c", EACH_IN_TURN, *lines]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def photographs(folder: Path) -> None:
    """Two classes of noise, one dark and one light."""
    random = np.random.default_rng(0)
    for label, level in (("night", 40), ("day", 190)):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            noise = random.integers(0, 60, (40, 40, 3)) + level
            Image.fromarray(noise.astype(np.uint8)).save(folder / label / f"{number}.png")


def test_a_bundle_is_proven_run_and_measured(root: Path, tmp_path: Path) -> None:
    tiny.build(tmp_path / "b", "onnx")
    bench = "bench b --quick --rounds 2 --duration 0.1 -o report.json"
    lines = ("pack b", "verify b.tar", "predict b b/golden --csv answers.csv", bench, "inspect b")
    printed = run_elsewhere(root, tmp_path, *lines)
    (row,) = json.loads((tmp_path / "report.json").read_bytes())["rows"]
    assert row["peak_memory_mib"] is None and "n/a" in printed
    assert row["cold_start"]["total_ms"] > 0
    assert len((tmp_path / "answers.csv").read_text().splitlines()) > 8


@pytest.mark.check
def test_a_network_is_trained_and_exported(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    photographs(tmp_path / "photos")
    train = "train photos -m mobilenetv3_small_050 --weights random --img-size 32 --strategy full --epochs 1 --name r"
    printed = run_elsewhere(root, tmp_path, f"{train} --workers 2", "export runs/r -t onnx", "eval runs/r", "doctor")
    assert Bundle.open(tmp_path / "bundles/r-onnx-fp32").manifest.labels == ("day", "night")
    assert re.search(r"memory +n/a", printed) and "does not report this CPU's" in printed


@pytest.mark.parametrize("path", ["../a.png", "/a.png", "a/../../b.png", "a//b.png", "", "a\0b"])
def test_no_system_reads_a_path_outside_its_folder(path: str) -> None:
    assert not stays_inside(path)
    assert not stays_inside(path, PureWindowsPath)


@pytest.mark.parametrize("path", ["..\\a.png", "cat\\..\\..\\a.png", "C:a.png", "C:\\a.png", "\\\\server\\a\\b.png"])
def test_paths_that_leave_the_folder_on_windows_alone_are_names_elsewhere(path: str) -> None:
    assert not stays_inside(path, PureWindowsPath)
    with pytest.raises(ValueError, match="does not stay inside"):
        check_member_path(path)  # a bundle travels


def test_backslashes_of_a_table_made_on_windows_are_read(tmp_path: Path) -> None:
    photographs(tmp_path)
    rows = [f"{label}\\{number}.png,{label}" for label in ("night", "day") for number in range(12)]
    (tmp_path / "images.csv").write_text("\n".join(["path,label", *rows]))
    assert len(read_dataset(tmp_path / "images.csv").images) == 24


@pytest.mark.skipif(os.sep == "\\", reason="Windows has no such names")
def test_a_backslash_in_a_name_stays_one_where_a_file_has_it(tmp_path: Path) -> None:
    photographs(tmp_path)
    for label in ("night", "day"):
        (tmp_path / label / "0.png").rename(tmp_path / f"{label}\\0.png")
    (tmp_path / "images.csv").write_text("path,label\nnight\\0.png,night\nday\\0.png,day\n")
    dataset = read_dataset(tmp_path / "images.csv")
    assert [image.path.name for image in dataset.images] == ["night\\0.png", "day\\0.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["aux"], "is a device to Windows"),
        (["golden/Nul.png"], "is a device to Windows"),
        (["com1.tar.gz"], "is a device to Windows"),
        (["a:b.png"], "no file names with ':'"),
        (["a\\b.png"], "no file names with"),
        (["golden/end."], "drops a dot"),
        (["end "], "drops a dot or a space"),
        (["Model.onnx", "model.onnx"], "are one file to Windows and macOS"),
    ],
)
def test_names_that_some_system_can_not_have_are_found(names: list[str], message: str) -> None:
    assert message in str(unportable(names))


def test_ordinary_names_are_portable() -> None:
    assert (
        unportable(["model.onnx", "golden/0.png", "auxiliary.bin", "com10", "golden/Äpfel 2.jpeg", ".hidden"]) is None
    )


@pytest.mark.parametrize("name", ["aux.tar", "a:b.tar", "cats.tar."])
def test_a_bundle_is_packed_only_under_a_name_that_every_system_can_have(name: str, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny.build(tmp_path / "b", "reference").path)
    with pytest.raises(UsageError, match="name another file with --output"):
        pack(bundle, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_bundle_whose_files_windows_can_not_have_is_not_packed(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny.build(tmp_path / "b", "reference").path)
    bundle.manifest.files["golden/aux.png"] = next(iter(bundle.manifest.files.values()))
    with pytest.raises(BundleError, match="aux is a device to Windows"):
        pack(bundle, tmp_path / "b.tar")
