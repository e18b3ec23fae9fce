"""Programs for a device: Python's runs and predicts what edgeclf predicts; the others are whole, C++ compiles."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf import cli
from edgeclf.snippets.snippet import LANGUAGES, Language, snippet
from edgeclf.verbs.shared import options
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.pixels import Pixels

C_API = """
#include <cstddef>
#include <cstdint>
struct TfLiteModel; struct TfLiteInterpreter; struct TfLiteInterpreterOptions; struct TfLiteTensor;
enum TfLiteStatus { kTfLiteOk = 0 };
TfLiteModel* TfLiteModelCreateFromFile(const char*);
void TfLiteModelDelete(TfLiteModel*);
TfLiteInterpreterOptions* TfLiteInterpreterOptionsCreate();
void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions*);
void TfLiteInterpreterOptionsSetNumThreads(TfLiteInterpreterOptions*, int32_t);
TfLiteInterpreter* TfLiteInterpreterCreate(const TfLiteModel*, const TfLiteInterpreterOptions*);
void TfLiteInterpreterDelete(TfLiteInterpreter*);
TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter*);
TfLiteTensor* TfLiteInterpreterGetInputTensor(const TfLiteInterpreter*, int32_t);
TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor*, const void*, size_t);
TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter*);
const TfLiteTensor* TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter*, int32_t);
TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor*, void*, size_t);
"""  # of tensorflow/lite/core/c/c_api.h
GEOMETRIES = {
    "shorter": Pixels("shorter", (10, 10), (8, 8), "bicubic"),
    "cover": Pixels("cover", (9, 9), (8, 8), "bilinear"),
    "fit": Pixels("fit", (8, 8), (8, 8), "lanczos", padding=(9, 99, 199), background=(250, 50, 150)),
    "exact": Pixels("exact", (8, 8), (8, 8), "nearest"),
}
needs_litert = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="needs LiteRT")


@needs_litert
@pytest.mark.parametrize(
    ("rule", "scores"), [("shorter", "softmax"), ("cover", "softmax"), ("fit", "sigmoid"), ("exact", "softmax")]
)
def test_pythons_program_prints_what_edgeclf_predicts(rule: str, scores: str, tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "b", "litert")
    bundle = tiny.reseal(bundle.path, pixels=GEOMETRIES[rule], scores=scores, temperature=1.5)
    photo = tmp_path / "photo.png"
    channels = 4 if rule == "fit" else 3  # with transparent pixels, which show the background
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 23, channels), dtype=np.uint8)).save(photo)
    (tmp_path / "classify.py").write_text(snippet(bundle, "python"))
    (tmp_path / "labels.txt").write_text("\n".join(tiny.LABELS) + "\n")
    shutil.copy(bundle.path / "model.tflite", tmp_path)
    command = [sys.executable, "classify.py", photo]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with Classifier.open(bundle) as classifier:
        (prediction,) = classifier.predict([photo], top=3)
    wanted = {each.label: each.probability for each in prediction.scores}
    printed = {line.split()[1]: float(line.split("%")[0]) / 100 for line in done.stdout.splitlines()}
    assert list(printed) == list(wanted) and printed == pytest.approx(wanted, abs=1e-4)


@needs_litert
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("rule", GEOMETRIES)
def test_every_program_is_whole_and_states_the_pixel_contract(language: Language, rule: str, tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "b", "litert")
    text = snippet(tiny.reseal(bundle.path, pixels=GEOMETRIES[rule]), language)
    assert "@" not in text.replace("@RunWith", "")
    assert "model.tflite" in text and f"({GEOMETRIES[rule].interpolation})" in text and "inside the graph" in text
    assert text.count("(") == text.count(")") and text.count("{") == text.count("}")


@needs_litert
@pytest.mark.parametrize("scores", ["softmax", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_the_program_in_cpp_compiles(scores: str, tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    header = tmp_path / "tensorflow/lite/c/c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text(C_API)
    bundle = tiny.build(tmp_path / "b", "litert", scores=scores)
    (tmp_path / "classify.cc").write_text(snippet(bundle, "c++"))
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", tmp_path, "classify.cc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_bundle_without_a_tflite_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny.build(tmp_path / "b")
    with pytest.raises(UsageError, match="is a bundle for reference; export it with -t litert"):
        snippet(bundle, "kotlin")
    assert cli.run(["inspect", str(bundle.path), "--snippet", "swift", "--labels"]) == 2
    assert "--snippet prints a program alone" in capsys.readouterr().err


@needs_litert
def test_inspect_prints_the_program_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle: Bundle = tiny.build(tmp_path / "b", "litert")
    assert cli.run(["inspect", str(bundle.path), "--snippet", "c++"]) == 0
    printed = capsys.readouterr()
    assert printed.out == snippet(bundle, "c++") and printed.err == ""


def test_the_option_offers_every_language() -> None:
    assert get_args(options.Language) == LANGUAGES
