"""Programs that records run in processes of their own stand in strings, where no type checker looks."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import edgeclf_benchmarks


def _programs() -> Iterator[tuple[str, ast.Module]]:
    """Name of the file, and the program, of each string that is Python and imports something of edgeclf."""
    (root,) = edgeclf_benchmarks.__path__
    for path in sorted(Path(root).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import edgeclf" in _flat(node.value):
                try:
                    yield path.name, ast.parse(node.value)
                except SyntaxError:  # a sentence about a program, or a command line with one in it
                    continue


def _flat(text: str) -> str:
    return text.replace("from edgeclf", "import edgeclf")


@pytest.mark.parametrize("name,program", [pytest.param(*each, id=each[0]) for each in _programs()])
def test_a_program_in_a_string_imports_what_exists(name: str, program: ast.Module) -> None:
    missing = []
    for node in ast.walk(program):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("edgeclf"):
            module = importlib.import_module(node.module)
            missing += [alias.name for alias in node.names if not _has(module, alias.name)]
    assert not missing, f"{name} imports {', '.join(missing)}"


def _has(module: ModuleType, name: str) -> bool:
    return hasattr(module, name) or any(
        found.name == name for found in pkgutil.iter_modules(getattr(module, "__path__", ()))
    )


def test_programs_are_found() -> None:
    assert "recipe.py" in {name for name, _ in _programs()}
