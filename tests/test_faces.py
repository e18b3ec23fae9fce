"""What each package offers by name: importing it loads nothing, and every name is there."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

FACES = {
    "edgeclf_runtime": {
        *("Bundle", "Classifier", "Embedder", "Prediction", "Score", "SessionOptions", "EdgeclfError", "Proof"),
        *("Outcome", "build", "save_proof", "verify", "Limits", "Normalization", "Pixels"),
        *("BackendError", "BundleError", "DataError", "GateError", "ImageError", "UsageError"),
    },
    "edgeclf_benchmarks": {
        *("BenchOptions", "Benched", "Choice", "Compared", "LabelledImages", "Limits", "Report"),
        *("bench", "compare", "read_report", "recommend"),
    },
    "edgeclf_export": {
        *("ExportOptions", "Exportable", "Exported", "Int8Options"),
        *("export", "export_module", "load_backbone", "load_onnx_classifier"),
    },
    "edgeclf": {
        *("Baseline", "BaselineOptions", "BenchImages", "EvaluateOptions", "Evaluated", "LearningCurve", "Run"),
        *("Switches", "TeacherGain", "TrainConfig", "Trained", "Progress", "baseline", "evaluate", "finish_training"),
        *("learning_curve", "resume_learning_curve", "resume_training", "train", "Search", "search", "resume_search"),
    },
}


@pytest.mark.parametrize("package", FACES)
def test_every_name_is_offered_and_of_the_module_that_defines_it(package: str) -> None:
    module = importlib.import_module(package)
    assert FACES[package] | {"__version__"} <= set(dir(module))
    for name in FACES[package]:
        assert getattr(module, name).__name__ == name
        assert getattr(module, name).__module__.startswith(package)


@pytest.mark.parametrize("package", FACES)
def test_the_version_is_that_of_the_distribution(package: str) -> None:
    assert importlib.import_module(package).__version__ == importlib.metadata.version("edgeclf")


@pytest.mark.parametrize("package", FACES)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        importlib.import_module(package).nothing  # noqa: B018


@pytest.mark.parametrize("package", FACES)
def test_importing_a_package_loads_neither_numpy_nor_its_own_rooms(package: str) -> None:
    code = f"import sys, {package}; print(*sorted(n for n in sys.modules if n.startswith(('edgeclf', 'numpy', 'PIL'))))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {package, "edgeclf_runtime", "edgeclf_runtime.lazy"}
