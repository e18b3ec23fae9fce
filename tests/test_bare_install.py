"""The runtime as a device has it: the wheel with one engine in an environment of its own, with no torch in reach.

`newest` is what pip takes today. `jetpack6` is what the package registry offers Python 3.10, the one of JetPack 6, with
the oldest command line that pyproject.toml allows. `lowest` has every lower bound of pyproject.toml, so that none
promises too much. `litert` has LiteRT as its engine, not ONNX Runtime. The second and third need a Python 3.10; all of
them need the package registry.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from runtime_part import runtime_tests

from edgeclf_benchmarks.records.bare_environment import Environment
from edgeclf_benchmarks.records.interpreters import find_interpreters

pytestmark = pytest.mark.slow

JETPACK6 = ["numpy==2.2.6", "pillow==12.3.0", "onnxruntime==1.23.2"]
COMMAND_LINE = {"typer", "rich"}


def lower_bounds(wheel: Path) -> list[str]:
    """`name==oldest` for everything that `edgeclf[onnx]` needs."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    wanted = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    return [
        f"{each.name}=={bound.version}"
        for each in wanted
        if each.marker is None or each.marker.evaluate({"extra": "onnx"})
        for bound in each.specifier
        if bound.operator == ">="
    ]


def pins(name: str, wheel: Path) -> list[str]:
    lowest = lower_bounds(wheel)
    command_line = [pin for pin in lowest if pin.partition("==")[0] in COMMAND_LINE]
    return {"newest": [], "litert": [], "jetpack6": [*JETPACK6, *command_line], "lowest": lowest}[name]


@pytest.fixture(scope="module", params=["newest", "jetpack6", "lowest", "litert"])
def bare(
    request: pytest.FixtureRequest, root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    name: str = request.param
    python = Path(sys.executable) if name in ("newest", "litert") else find_interpreters().get("3.10")
    if python is None:
        pytest.skip("no Python 3.10 that starts")
    extra = "litert" if name == "litert" else "onnx"
    return Environment.make(tmp_path_factory.mktemp(name), python, wheel, root, extra, pins(name, wheel))


@pytest.fixture
def engine(bare: Environment) -> str:
    """The target whose engine is installed there."""
    return "litert" if bare.run("python", "-c", "import onnxruntime").returncode else "onnx"


def test_torch_is_not_there(bare: Environment) -> None:
    assert bare.run("python", "-c", "import torch").returncode == 1


def test_every_module_imports(bare: Environment) -> None:
    code = (
        "import importlib, pkgutil\n"
        "for name in ('edgeclf_runtime', 'edgeclf_benchmarks', 'edgeclf_export', 'edgeclf'):\n"
        "    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
    )
    result = bare.run("python", "-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", [["edgeclf"], ["python", "-m", "edgeclf"]])
def test_the_command_starts(bare: Environment, command: list[str]) -> None:
    result = bare.run(*command, "--help")
    assert result.returncode == 0, result.stderr
    assert "predict" in result.stdout


def test_the_help_of_a_verb_is_whole(bare: Environment) -> None:
    result = bare.run("edgeclf", "predict", "--help")
    assert result.returncode == 0, result.stderr
    assert "[default: " in result.stdout
    assert "\\[" not in result.stdout  # Typer before 0.22 with rich escapes for no reader


def test_bench_runs_on_a_bundle(bare: Environment, engine: str) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/support')\n"
        f"import tiny; from pathlib import Path; tiny.build(Path('b'), {engine!r})"
    )
    made = bare.run("python", "-c", code)
    assert made.returncode == 0, made.stderr
    result = bare.run("edgeclf", "bench", "b", "--quick", "--rounds", "2", "--duration", "0.2", "-o", "report.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((bare.folder / "report.json").read_text())
    assert report["complete"] and report["rows"][0]["proof"]["verdict"] == "pass"


def test_bench_with_labelled_images_needs_nothing_more(bare: Environment, engine: str) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/support'); import tiny; from pathlib import Path\n"
        f"tiny.build(Path('labelled'), {engine!r})\n"
        "for number, picture in enumerate(tiny.images(24)):\n"
        "    place = Path('views', tiny.LABELS[number % 3])\n"
        "    place.mkdir(parents=True, exist_ok=True)\n"
        "    picture.save(place / f'{number}.png')\n"
    )
    made = bare.run("python", "-c", code)
    assert made.returncode == 0, made.stderr
    command = [
        "bench",
        "labelled",
        "--data",
        "views",
        "--quick",
        "--rounds",
        "2",
        "--duration",
        "0.2",
        "--corruptions",
        "all",
        "-o",
        "data.json",
    ]
    result = bare.run("edgeclf", *command)
    assert result.returncode == 0, result.stderr
    report = json.loads((bare.folder / "data.json").read_text())
    assert report["rows"][0]["evaluation"]["images"] == 24  # a folder without splits is evaluated whole
    assert len(report["rows"][0]["robustness"]["entries"]) == 18


def test_the_runtime_passes_its_tests(bare: Environment, engine: str, whole: bool) -> None:
    """All of them with the lowest versions: `make test` runs them with today's, and differs most from these.

    Those of its engine, where that is not ONNX Runtime, with which the others make their bundles.
    """
    tests = runtime_tests(whole=whole or bare.folder.name.startswith("lowest"))
    if engine != "onnx":
        tests = ("tests/runtime", "-k", engine)
    result = bare.run("pytest", "-rs", "-p", "no:cacheprovider", *tests)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
