"""What is installed: the wheel's and the sdist's files, the entry point, and what each extra brings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from edgeclf_runtime.session import BACKENDS

pytestmark = pytest.mark.check

PACKAGES = {
    "edgeclf": "edgeclf",
    "edgeclf_runtime": "runtime/edgeclf_runtime",
    "edgeclf_export": "export/edgeclf_export",
    "edgeclf_benchmarks": "benchmarks/edgeclf_benchmarks",
}


def package_files(root: Path) -> dict[str, Path]:
    """Installed name -> file in the repository, for every file of the four packages but the records' commands."""
    return {
        f"{package}/{path.relative_to(root / folder).as_posix()}": path
        for package, folder in PACKAGES.items()
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "records" not in path.relative_to(root).parts
    }


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def in_dist_info(wheel: Path, name: str) -> str:
    (found,) = (data for path, data in contents(wheel).items() if path.endswith(f".dist-info/{name}"))
    return found.decode()


@pytest.fixture(scope="module")
def sdist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, beside the wheel that `build` made from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(root)]
    build = subprocess.run(command, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return Parser().parsestr(in_dist_info(wheel, "METADATA"))


def installed_by(metadata: Message, extra: str) -> dict[str, Requirement]:
    """Requirement by name of `edgeclf[extra]` ("": of the bare `edgeclf`), through extras that name other extras."""
    found: dict[str, Requirement] = {}
    for line in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            if requirement.name == "edgeclf":
                for inner in requirement.extras:
                    found |= installed_by(metadata, inner)
            else:
                found[requirement.name] = requirement
    return found


def test_the_wheel_holds_the_four_packages_whole_and_nothing_else(root: Path, wheel: Path) -> None:
    files = {name: data for name, data in contents(wheel).items() if ".dist-info/" not in name}
    assert files == {name: path.read_bytes() for name, path in package_files(root).items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_tells_type_checkers_that_it_is_typed(package: str, wheel: Path) -> None:
    assert f"{package}/py.typed" in contents(wheel)


def test_the_wheel_holds_the_licence(root: Path, wheel: Path, metadata: Message) -> None:
    assert in_dist_info(wheel, "licenses/LICENSE") == (root / "LICENSE").read_text()
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_wheel_has_the_command_and_no_other(wheel: Path) -> None:
    lines = in_dist_info(wheel, "entry_points.txt").split("\n")
    assert [line for line in lines if line] == ["[console_scripts]", "edgeclf = edgeclf.cli:main"]


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path) -> None:
    (from_sdist,) = sdist.parent.glob("*.whl")
    assert contents(from_sdist) == contents(wheel)


def test_the_sdist_holds_sources_and_tests_but_no_results_of_work(root: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    wanted = {path.relative_to(root).as_posix() for path in package_files(root).values()}
    wanted |= {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "tests/test_packaging.py"}
    assert wanted <= names
    unwanted = {".ci", ".github", ".venv", "bundles", "runs", "build", "dist", ".mypy_cache", ".ruff_cache"}
    assert not unwanted & {part for name in names for part in name.split("/")}


def test_the_base_install_is_small(metadata: Message) -> None:
    assert set(installed_by(metadata, "")) == {"numpy", "pillow", "rich", "typer"}


@pytest.mark.parametrize("extra", ["onnx", "gpu", "openvino", "litert", "tensorrt"])
def test_an_engine_extra_brings_only_its_engine(extra: str, metadata: Message) -> None:
    assert len(set(installed_by(metadata, extra)) - set(installed_by(metadata, ""))) == 1


def test_no_extra_brings_two_onnxruntimes(metadata: Message) -> None:
    for extra in metadata.get_all("Provides-Extra", []):
        assert not {"onnxruntime", "onnxruntime-gpu"} <= set(installed_by(metadata, extra)), extra


def test_only_the_tensorrt_extra_brings_tensorrt(metadata: Message) -> None:
    extras = ["", *metadata.get_all("Provides-Extra", [])]
    assert [extra for extra in extras if "tensorrt" in installed_by(metadata, extra)] == ["tensorrt"]


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend.extra])
def test_an_extra_brings_no_engine_that_its_backend_finds_too_old(name: str, metadata: Message) -> None:
    backend = BACKENDS[name]
    brought = installed_by(metadata, backend.extra)
    (bounds,) = (brought[name].specifier for name in {backend.module, *backend.distributions[:1]} & brought.keys())
    (lowest,) = (Version(bound.version) for bound in bounds if bound.operator == ">=")
    assert lowest >= Version(backend.oldest)


def test_extras_that_messages_name_exist(root: Path, metadata: Message) -> None:
    named = {}
    for path in package_files(root).values():
        if path.suffix == ".py":
            source = path.read_text()
            named |= {extra: path for text in re.findall(r"edgeclf\[([\w,-]+)\]", source) for extra in text.split(",")}
            if "missing_engine(" in source:
                named |= {extra: path for extra in extras_of_missing_engines(ast.parse(source))}
    assert named
    unknown = {extra: path for extra, path in named.items() if extra not in metadata.get_all("Provides-Extra", [])}
    assert not unknown


def extras_of_missing_engines(tree: ast.Module) -> list[str]:
    """The second argument of each `missing_engine(package, extra, error)`."""
    return [
        node.args[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "missing_engine"
        if isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str)
    ]
