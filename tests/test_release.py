"""A release: the same sources give the same files, and their sums and bills of material list what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.check

BUILT_FROM = (".ci", ".gitignore", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "edgeclf", "runtime")
BUILT_FROM += ("export", "benchmarks/edgeclf_benchmarks")


def copy_sources(root: Path, place: Path, folder_mode: int, file_mode: int, time_s: int) -> Path:
    """The sources in another folder, with other modes and times, created in another order."""
    for name in BUILT_FROM if time_s % 2 else reversed(BUILT_FROM):
        source, copy = root / name, place / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy(source, copy)
    for path in sorted(place.rglob("*"), reverse=bool(time_s % 2)):
        path.chmod(folder_mode if path.is_dir() else file_mode)
        os.utime(path, (time_s, time_s))
    return place


def release(sources: Path, umask: int, *arguments: str) -> Path:
    """dist/ of a release, made by a process with that umask."""
    command = [sys.executable, ".ci/release.py", *arguments]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, umask=umask)
    assert done.returncode == 0, done.stderr
    return sources / "dist"


def test_the_same_sources_give_the_same_bytes_whatever_the_folder_the_time_and_the_umask(
    root: Path, tmp_path: Path
) -> None:
    one = copy_sources(root, tmp_path / "one", 0o755, 0o644, 1_000_000_001)
    other = copy_sources(root, tmp_path / "another" / "place", 0o700, 0o600, 1_700_000_000)
    sums = [
        (release(each, umask, "--no-sbom") / "SHA256SUMS").read_text() for each, umask in ((one, 0o22), (other, 0o77))
    ]
    assert sums[0] == sums[1]
    names = {}
    for line in sums[0].splitlines():
        digest, _, name = line.partition("  ")
        names[name] = digest
        assert hashlib.sha256((one / "dist" / name).read_bytes()).hexdigest() == digest
    assert {name.rpartition(".")[2] for name in names} == {"whl", "gz"}


def test_files_of_another_release_are_not_mixed_with_the_new_ones(root: Path, tmp_path: Path) -> None:
    (tmp_path / "old.whl").touch()
    command = [sys.executable, str(root / ".ci/release.py"), "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "holds files" in done.stderr


@pytest.mark.slow
def test_a_bill_of_materials_lists_what_the_runtime_installs_and_no_tool(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py", reason="pip install '.[release]'")
    code = (
        "import runpy, sys; from pathlib import Path\n"
        "made = runpy.run_path(sys.argv[1]); folder = Path(sys.argv[2]); made['build'](folder)\n"
        "(wheel,) = folder.glob('*.whl'); made['bill_of_materials'](wheel, 'onnx', folder / 'bill.json')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, root / ".ci/release.py", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "bill.json").read_bytes())
    names = {component["name"] for component in bill["components"]}
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {"numpy", "pillow", "onnxruntime", "typer", "rich"} <= names
    assert not {"torch", "pip", "pytest"} & names
    assert bill["metadata"]["component"]["name"] == "edgeclf"
