"""Imports run one way, from a room to the rooms below it, and nothing heavy is imported before somebody needs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from edgeclf_runtime.session import BACKENDS

pytestmark = pytest.mark.check

LAYERS = {  # package -> its folder
    "edgeclf_runtime": "runtime/edgeclf_runtime",
    "edgeclf_benchmarks": "benchmarks/edgeclf_benchmarks",
    "edgeclf_export": "export/edgeclf_export",
    "edgeclf": "edgeclf",
}
ABOVE = {  # package -> packages that may not know of it, and that it may not know of
    "edgeclf_runtime": {"edgeclf_benchmarks", "edgeclf_export", "edgeclf"},
    "edgeclf_benchmarks": {"edgeclf_export", "edgeclf"},
    "edgeclf_export": {"edgeclf_benchmarks", "edgeclf"},
    "edgeclf": set[str](),
}
# package, or room of one -> its rooms from the ground up: a room may import those on the lines before its own
ROOMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "edgeclf_runtime": (
        ("errors", "progress", "sanitize", "hashing", "lazy", "installing", "capacity", "portable_paths", "file_lock"),
        ("json_fields",),
        ("metrics",),
        ("images",),
        ("machine",),
        ("bundle",),
        ("monitoring",),
        ("text",),
        ("backends",),
        ("session",),
        ("pipeline",),
        ("deploy",),
        ("classifier", "embedder"),
    ),
    "edgeclf_benchmarks": (("page",), ("measuring",), ("comparing",), ("benching",), ("records",)),
    "edgeclf_export": (
        ("graph",),
        ("exportable", "failures"),
        ("sources",),
        ("targets",),
        ("proof",),
        ("quantize",),
        ("options",),
        ("exporter",),
    ),
    "edgeclf": (
        ("wording", "lines", "sheet"),
        ("console",),
        ("inspection", "image_steps"),
        ("snippets",),
        ("data", "explanation"),
        ("evaluation",),
        ("baselines",),
        ("training",),
        ("model_card", "serving", "video", "doctor", "integrations", "json_schemas", "listing"),
        ("verbs",),
        ("commands",),
        ("cli",),
        ("__main__",),
    ),
    "edgeclf.training": (
        ("choices", "seeds", "waiting", "review_probe"),
        ("distributed",),
        ("inputs",),
        ("config",),
        ("task",),
        ("run",),
        ("distillation",),
        ("loop",),
        ("adaptation",),
        ("teaching", "cautions", "result", "multi_label_review"),
        ("train", "lr_find", "small_clip", "label_review"),
        ("teacher_gain", "kept_runs"),
        ("evaluate_options",),
        ("from_paths", "evaluate"),
        ("learning_curve",),
        ("search",),
    ),
}
HEAVY = {
    "ai_edge_litert",
    "ai_edge_quantizer",
    "av",
    "cryptography",
    "httptools",
    "matplotlib",
    "nncf",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "open_clip",
    "openvino",
    "pandas",
    "prometheus_client",
    "ray",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "starlette",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "timm",
    "torch",
    "torchvision",
    "uvicorn",
}
ENGINES = {
    "ai_edge_litert",
    "onnxruntime",
    "open_clip",
    "openvino",
    "tensorrt",
    "torch",
    "torchvision",
    "timm",
    "safetensors",
}
OPTIONAL = {*ENGINES, "cryptography", "cykooz_resizer", "pi_heif"}  # what the runtime may load on request


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: where it stands, what it loads, and when."""

    path: Path
    line: int
    module: str
    when: str  # "at import", "when called" or "when checked" (under TYPE_CHECKING)

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def room_in(self, package: str) -> str | None:
        """The file or folder of a package that it loads from; "": the package itself; None: from elsewhere."""
        inside = f"{self.module}.".removeprefix(f"{package}.")
        return None if inside == f"{self.module}." else inside.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line} imports {self.module} {self.when}"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path, package: str) -> tuple[Import, ...]:
    """Every import of one file, also those in functions and conditions."""
    return tuple(imports_in(parsed(path), path, package, "at import"))


def imports_in(node: ast.AST, path: Path, package: str, when: str) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(path, node.lineno, alias.name, when) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module in LAYERS and not node.level:
        yield from (Import(path, node.lineno, f"{node.module}.{alias.name}", when) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield Import(path, node.lineno, package if node.level else str(node.module), when)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        when = "when called"
    elif isinstance(node, ast.If) and any("TYPE_CHECKING" in vars(each).values() for each in ast.walk(node.test)):
        when = "when checked"
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):  # which holds no statement
            yield from imports_in(child, path, package, when)


def folder_of(root: Path, package: str) -> Path:
    """Of a package, or of a room in one."""
    layer, *rooms = package.split(".")
    return root.joinpath(LAYERS[layer], *rooms)


def imports_of(root: Path, package: str) -> list[Import]:
    return [each for path in sorted(folder_of(root, package).rglob("*.py")) for each in imports(path, package)]


@pytest.mark.parametrize("package", LAYERS)
def test_a_package_knows_nothing_of_those_above_or_beside_it(package: str, root: Path) -> None:
    assert not [str(each) for each in imports_of(root, package) if each.package in ABOVE[package]]


@pytest.mark.parametrize("package", ROOMS)
def test_every_file_stands_in_a_room(package: str, root: Path) -> None:
    known = {room for line in ROOMS[package] for room in line}
    folder = folder_of(root, package)
    found = {path.relative_to(folder).parts[0].removesuffix(".py") for path in folder.rglob("*.py")} - {"__init__"}
    assert found == known


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_itself_and_the_rooms_below(package: str, root: Path) -> None:
    height = {room: number for number, line in enumerate(ROOMS[package]) for room in line}
    folder = folder_of(root, package)
    wrong = []
    for each in imports_of(root, package):
        room, loaded = each.path.relative_to(folder).parts[0].removesuffix(".py"), each.room_in(package)
        if loaded and loaded != room and height[loaded] >= height.get(room, len(height)):
            wrong.append(f"{each.path.relative_to(folder)}: {each}")
    assert not wrong


@pytest.mark.parametrize("package", LAYERS)
def test_nothing_heavy_is_imported_at_module_level(package: str, root: Path) -> None:
    heavy = [str(each) for each in imports_of(root, package) if each.package in HEAVY and each.when == "at import"]
    assert not heavy


def test_the_runtime_imports_numpy_pillow_the_standard_library_and_inside_functions_its_engines(root: Path) -> None:
    always = {"numpy", "PIL", "edgeclf_runtime", *sys.stdlib_module_names}
    for each in imports_of(root, "edgeclf_runtime"):
        assert each.package in always or (each.package in OPTIONAL and each.when != "at import"), str(each)


def test_an_engine_is_known_by_its_objects_and_compared_by_name_nowhere(root: Path) -> None:
    """CONTRIBUTING: all that is known of an engine stands in its `Backend` and its `Target`."""
    compared = [
        f"{path.relative_to(root)}:{node.lineno}"
        for folder in LAYERS.values()
        for path in sorted((root / folder).rglob("*.py"))
        if "backends" not in path.parts and "records" not in path.parts  # records: the engines' own bare calls
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Compare) and names_an_engine(node)
    ]
    assert not [each for each in compared if "measuring/predictions.py" not in each]


def names_an_engine(comparison: ast.Compare) -> bool:
    sides = [part for side in (comparison.left, *comparison.comparators) for part in ast.walk(side)]
    if any(isinstance(part, ast.Attribute) and part.attr == "flavour" for part in sides):
        return False  # TensorRT or TensorRT-RTX
    return any(isinstance(part, ast.Constant) and part.value in BACKENDS for part in sides)


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        "import os.path\n"
        "from . import neighbour\n"
        "if TYPE_CHECKING:\n    from torch import nn\n"
        "try:\n    import timm\nexcept ImportError:\n    pass\n"
        "def load():\n    with lock:\n        import onnx\n"
    )
    assert [(each.module, each.when) for each in imports(path, "edgeclf_runtime")] == [
        ("os.path", "at import"),
        ("edgeclf_runtime", "at import"),
        ("torch", "when checked"),
        ("timm", "at import"),
        ("onnx", "when called"),
    ]


BARE = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)", name=name)

sys.meta_path.insert(0, Blocked())
failed = []
for package in PACKAGES:  # from the ground up, so that one does not come with another's imports
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, package + ".", onerror=failed.append):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except Exception as error:
                failed.append(f"{module.name}: {error!r}")
sys.exit("\\n".join(failed) or 0)
"""


def test_every_module_imports_where_nothing_heavy_is_installed() -> None:
    code = f"HEAVY = {HEAVY!r}\nPACKAGES = {list(LAYERS)!r}\n{BARE}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_nothing_heavy(option: str) -> None:
    code = (
        "import sys\n"
        "from edgeclf.cli import main\n"
        f"sys.argv = ['edgeclf', {option!r}]\n"
        "try:\n    code = main()\n"
        "except SystemExit as end:\n    code = end.code\n"
        "print(code or 0, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout, result.stderr
    exit_code, *loaded = result.stderr.splitlines()[-1].split()
    assert exit_code == "0", result.stderr
    assert not HEAVY & set(loaded)
