"""The runtime on each Python that edgeclf supports and this machine has, with today's versions; all of its tests with
--whole. A Python that is not here is skipped by name.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from runtime_part import CONTRACT, runtime_tests

from edgeclf_benchmarks.records.bare_environment import Environment
from edgeclf_benchmarks.records.interpreters import SUPPORTED, find_interpreters

pytestmark = pytest.mark.slow

THIS = ".".join(map(str, sys.version_info[:2]))
ELSEWHERE = {THIS, "3.10"}  # of test_bare_install.py: newest, JetPack 6's, oldest versions
# Compiling and importing every file with warnings of edgeclf's own code as errors, then the help of every verb.
EVERY_MODULE_AND_HELP = """
import compileall, importlib, pkgutil, sys, warnings
warnings.filterwarnings("error", category=SyntaxWarning)
for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
    warnings.filterwarnings("error", category=category, module="edgeclf")
for name in ("edgeclf_runtime", "edgeclf_benchmarks", "edgeclf_export", "edgeclf"):
    package = importlib.import_module(name)
    assert compileall.compile_dir(package.__path__[0], quiet=1, force=True), name
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
import typer
from edgeclf import cli, commands
def words(command, *before):
    yield before
    for name, inner in getattr(command, "commands", {}).items():
        yield from words(inner, *before, name)
verbs = [*words(typer.main.get_command(commands.build_app()))]
assert len(verbs) > 20, verbs
for verb in verbs:
    assert cli.run([*verb, "--help"]) == 0, verb
"""


@pytest.fixture(scope="module", params=[minor for minor in SUPPORTED if minor not in ELSEWHERE])
def bare(
    request: pytest.FixtureRequest, root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    minor: str = request.param
    python = find_interpreters().get(minor)
    if python is None:
        pytest.skip(f"no Python {minor} that starts")
    return Environment.make(tmp_path_factory.mktemp(minor), python, wheel, root)


def test_every_module_and_every_help_comes_without_a_warning(bare: Environment) -> None:
    result = bare.run("python", "-c", EVERY_MODULE_AND_HELP)
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout


def test_the_engine_keeps_its_contract(bare: Environment) -> None:
    warnings = ["-W", "error::DeprecationWarning", "-W", "error::ResourceWarning"]
    result = bare.run("pytest", "-q", "-p", "no:cacheprovider", *warnings, CONTRACT, "-k", "onnx")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_runtime_passes_its_tests(bare: Environment, whole: bool) -> None:
    result = bare.run("pytest", "-rs", "-p", "no:cacheprovider", *runtime_tests(whole=whole))
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
