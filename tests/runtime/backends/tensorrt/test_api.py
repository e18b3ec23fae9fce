"""Every name of TensorRT that edgeclf uses exists in TensorRT 10.3, 10.16 and 11.4, and in TensorRT-RTX.

The names are read from the source, so that the list can't go stale. TensorRT itself is not to be had from the package
registry; its Python bindings are, and import beside three stub libraries that a C compiler makes in a second.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

import edgeclf_runtime
from edgeclf_runtime.backends.tensorrt.library import import_rtx

SOURCE = Path(edgeclf_runtime.__file__).parent
VERSIONS = {"10.3.0": 10, "10.16.1.11": 10, "11.4.0.106": 11}  # JetPack 6, JetPack 7, the newest: version -> library
# by file: a variable (or attribute) that holds an object of TensorRT -> its class
OBJECTS = {
    "backends/tensorrt/backend.py": {"engine": "ICudaEngine"},
    "backends/tensorrt/builder.py": {
        "builder": "Builder",
        "config": "IBuilderConfig",
        "entry": "ITensor",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "profile": "IOptimizationProfile",
    },
    "backends/tensorrt/execution_slot.py": {"context": "IExecutionContext", "engine": "ICudaEngine"},
    "backends/tensorrt/library.py": {"severity": "ILogger.Severity"},
    "backends/tensorrt/plan.py": {"engine": "ICudaEngine", "inspector": "EngineInspector", "runtime": "Runtime"},
    "backends/tensorrt/parser_errors.py": {"error": "ParserError", "parser": "OnnxParser"},
    "backends/tensorrt/timing_cache.py": {"cache": "ITimingCache", "config": "IBuilderConfig"},
    "backends/tensorrt/macs.py": {
        "convolution": "IConvolutionLayer",
        "entry": "ITensor",
        "layer": "ILayer",
        "network": "INetworkDefinition",
        "output": "ITensor",
        "product": "IMatrixMultiplyLayer",
    },
}
SIGNS = ("library.module", "trt: Any", "engine: Any", "config: Any", "parser: Any")  # of files that belong there
STUB = """
#include <stddef.h>
void *createInferBuilder_INTERNAL(void *l, int v) { return NULL; }
void *createInferRefitter_INTERNAL(void *e, void *l, int v) { return NULL; }
void *createInferRuntime_INTERNAL(void *l, int v) { return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *a, void *b, int v) { return NULL; }
void *createNvOnnxParser_INTERNAL(void *a, void *b, int v) { return NULL; }
void *getBuilderPluginRegistry(int c) { return NULL; }
void *getPluginRegistry(void) { return NULL; }
void *getLogger(void) { return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
int getInferLibVersion(void) { return 0; }
int initLibNvInferPlugins(void *l, const char *n) { return 0; }
"""
MISSING = """
import functools, importlib, json, sys
module = importlib.import_module("tensorrt_bindings")
missing = []
for name in json.load(sys.stdin):
    try:
        functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        missing.append(name)
print(json.dumps([module.__version__, missing]))
"""


def names_of(source: str, objects: dict[str, str]) -> set[str]:
    """`trt.X.Y` as "X.Y", and `variable.method` as "Class.method" for the variables in `objects`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if not chain:
            continue
        if isinstance(node, ast.Name):
            chain.insert(0, node.id)
        if chain[0] == "trt":
            found.add(".".join(chain[1:]))
        for holder, attribute in pairwise(chain):
            if (kind := objects.get(holder.lstrip("_"))) is not None and not attribute.startswith("_"):
                found.add(f"{kind}.{attribute}")
    return found


@pytest.fixture(scope="module")
def used() -> list[str]:
    return sorted(set().union(*(names_of((SOURCE / path).read_text(), objects) for path, objects in OBJECTS.items())))


def test_every_file_that_calls_tensorrt_is_read() -> None:
    calling = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if any(sign in path.read_text() for sign in SIGNS)
    }
    assert calling - {"backends/tensorrt/library.py"} == set(OBJECTS) - {"backends/tensorrt/library.py"}


def test_names_are_read_from_chains_and_variables() -> None:
    source = "trt.BuilderFlag.TF32\nself._engine.get_name(0)\nloaded.engine.x\nother.y\nlayer.__class__ = trt.ILayer"
    found = names_of(source, {"engine": "ICudaEngine", "layer": "ILayer"})
    assert found >= {"BuilderFlag.TF32", "ICudaEngine.get_name", "ICudaEngine.x", "ILayer"}
    assert not any("y" in name.split(".") for name in found)


def test_the_source_uses_what_it_is_known_to_use(used: list[str]) -> None:
    assert {
        "BuilderFlag.TF32",
        "IBuilderConfig.set_timing_cache",
        "ICudaEngine.get_tensor_dtype",
        "IExecutionContext.execute_async_v3",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "ParserError.node_operator",
    } <= set(used)


def test_the_source_uses_nothing_that_tensorrt_rtx_lacks(used: list[str]) -> None:
    rtx = import_rtx()
    if rtx is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'edgeclf[tensorrt-rtx]'")
    assert [name for name in used if not has(rtx.module, name)] == []


def has(module: object, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with empty stand-ins for the three libraries that the bindings link."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "stub.c").write_text(STUB)
    for major in set(VERSIONS.values()):
        for library in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
            name = f"{library}.so.{major}"
            command = [compiler, "-shared", "-fPIC", "-o", name, "stub.c", f"-Wl,-soname,{name}"]
            subprocess.run(command, cwd=folder, check=True)
    return folder


def bindings(version: str, cache: Path) -> Path:
    """The unpacked bindings of a TensorRT, downloaded once (1.3 MB)."""
    folder = cache / f"{version}-{sys.implementation.cache_tag}"
    if folder.exists():
        return folder
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("no pip")
    wanted = ["--no-deps", "--only-binary", ":all:", "--dest", str(cache), f"tensorrt-cu12-bindings=={version}"]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No matching distribution" in done.stderr:
        pytest.skip(f"no TensorRT bindings {version} for this Python and machine")
    assert done.returncode == 0, done.stderr
    (wheel,) = cache.glob(f"tensorrt_cu12_bindings-{version}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_source_uses_nothing_that_a_tensorrt_lacks(
    version: str, used: list[str], stubs: Path, request: pytest.FixtureRequest
) -> None:
    assert request.config.cache is not None
    folder = bindings(version, request.config.cache.mkdir("tensorrt-bindings"))
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", MISSING], input=json.dumps(used), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [version, []]
