"""INT8 as it is typed: what is refused in one line before any work, and words that become an int8 classifier."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_models import small_clip
from PIL import Image

from edgeclf.cli import run
from edgeclf.verbs.shared.exporting.results import _show_table
from edgeclf.verbs.shared.ladder_table import remarks, show_ladder, warn_inconclusive
from edgeclf_export.exportable import Contract
from edgeclf_export.exporter import Exported
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, GateEvaluation, Ladder, Step
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.metrics.verdict import Verdict

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
MODEL = ("export", "-m", "test_resnet", "--weights", "random")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--precision", "int8"], 2, "int8 needs real images to calibrate and to evaluate on: give --calib-data DIR"),
        (["--precision", "auto"], 2, "int8 needs real images"),
        (["--precision", "int8", "--calib-data", "nowhere"], 3, "wants a folder of images, and nowhere is none"),
        (["--precision", "fp16", "--calib-data", "."], 2, "--calib-data is for --precision int8 or auto"),
        (["--precision", "auto", "--calib-data", ".", "--fallback"], 2, "--fallback is for --precision int8"),
        (["--precision", "int8", "--calib-data", ".", "--max-drop", "0"], 2, "--max-drop wants points above 0"),
        (["--precision", "int8", "--calib-data", ".", "--max-drop", "120%"], 2, "--max-drop wants points above 0"),
        (["--precision", "int8", "--calib-data", ".", "--max-drop", "nan"], 2, "--max-drop wants points above 0"),
        (["--precision", "int8", "--calib-data", ".", "--max-drop", "99"], 2, "to keep 99 % of it, give 99%"),
        (
            ["--precision", "int8", "--calib-data", ".", "--resume"],
            2,
            "--resume goes on with an interrupted --learn-int8",
        ),
        (["--precision", "fp16", "--learn-int8", "5"], 2, "--learn-int8 is for --precision int8 or auto"),
        (["--precision", "int8", "-t", "pytorch"], 2, "pytorch has no precision 'int8'"),
    ],
)
def test_options_that_int8_can_not_use_are_refused_in_one_line(
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*MODEL, *options]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("part", ["image", "text"])
def test_int8_of_an_encoder_is_refused_before_anything_is_loaded(part: str, edgeclf: Run, tmp_path: Path) -> None:
    done = edgeclf("export", "-m", "ViT-B-32", "--pretrained", "random", "--encoder", part, "--precision", "int8")
    assert done.returncode == 2 and not (tmp_path / "bundles").exists()
    assert done.stderr.decode().splitlines() == [
        "edgeclf: int8 has to pass an accuracy gate on top-1, and an encoder has no classes; export fp16 or bf16"
    ]


def judged(verdict: Verdict, source: str, *reasons: str) -> GateEvaluation:
    shares = (0.9, 0.9, 1, 1, 0.0, -2.0, 1.0, 0.01, 0.1, 0.05, 0.05, 1.0)
    return GateEvaluation(90, source, True, *shares, verdict, reasons, 700 if verdict == "inconclusive" else None)


def ladder(step: Verdict, final: Verdict | None, precision: str = "int8") -> Ladder:
    failed = Step("int8 mse", "int8", "", (), None, 1, judged("fail", "validation images", "ECE rose"))
    kept = Step("kept", precision, "", (), None, 1, judged(step, "validation images", "so few"), became="model")
    on_test = None if final is None else judged(final, "test images", "so few")
    return Ladder(AccuracyGate(), (failed, kept), "kept", "why", (), (), on_test, {})


@pytest.mark.parametrize(
    ("tried", "images"),
    [
        (ladder("inconclusive", None), "validation images"),
        (ladder("pass", "inconclusive"), "test images"),
        (ladder("inconclusive", "pass"), ""),
        (ladder("inconclusive", "inconclusive", "fp32"), ""),
    ],
)
def test_an_inconclusive_verdict_is_reported_with_the_images_that_decide(
    tried: Ladder, images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_inconclusive(tried, "bundle")
    printed = " ".join(capsys.readouterr().err.split())
    assert (f"({images}); 700 images would settle it" in printed) if images else not printed


def test_agreement_on_more_images_decides_where_few_test_images_are_inconclusive() -> None:
    tried = ladder("pass", "inconclusive")
    kept = replace(tried.rungs[1], judged=replace(judged("pass", "agreement"), labelled=False, images=300))
    by_agreement = replace(tried, rungs=(tried.rungs[0], kept))
    assert by_agreement.decisive == kept.judged and tried.decisive == tried.final


def test_the_table_of_an_export_shows_the_verdict_on_accuracy_beside_that_on_outputs(
    make_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_bundle(tmp_path / "colours")
    proof, contract = verify(Bundle.open(path)), Contract(task="classify", inputs=(), outputs=())
    plain = Exported(path, 1, "onnx", "built", "fp32", proof, ())
    open_one = replace(plain, weights_precision="int8", ladder=ladder("pass", "inconclusive"))
    _show_table([plain], contract)
    assert "accuracy gate" not in capsys.readouterr().out
    _show_table([open_one, plain], contract)
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split()[-3:] == ["proof", "accuracy", "gate"]
    assert "pass" in first and first.rstrip().endswith("inconclusive") and "inconclusive" not in second


def test_the_ladder_of_a_failed_export_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show_ladder(replace(ladder("pass", None), chosen="", why="none passes the accuracy gate; nearest is kept"), "onnx")
    shown = capsys.readouterr().out
    assert "int8 mse" in shown and "none passes the accuracy gate; nearest is kept" in shown


def test_the_reason_is_shown_for_a_step_of_the_ladder_that_failed() -> None:
    assert "int8 mse failed: ECE rose" in [line.plain for line in remarks(ladder("pass", None))]


@pytest.mark.slow
def test_words_become_an_int8_classifier_on_images_of_the_words(edgeclf: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label, colour in {"red": (220, 30, 40), "green": (20, 200, 60), "blue": (30, 60, 230)}.items():
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            noisy = np.clip(random.normal(colour, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "photos" / label / f"{number}.png")
    words = ("zeroshot", "red,green,blue", "-m", small_clip(), "--precision", "int8")
    assert b"give --calib-data DIR" in edgeclf(*words).stderr
    done = edgeclf(*words, "--calib-data", "photos")
    assert done.returncode == 0, done.stderr.decode()
    assert b"INCONCLUSIVE" in done.stderr and b"12 calibration images are few" in done.stderr
    assert edgeclf("verify", "bundles/small-zeroshot-onnx-int8").returncode == 0


def test_a_precision_makes_an_onnx_bundle_of_a_bundle_too(
    make_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_bundle(tmp_path / "colours")
    assert run(["export", str(source), "--precision", "int8"]) == 2
    assert "a bundle for reference in fp32; others are made from an onnx bundle" in capsys.readouterr().err
    assert run(["export", str(source), "--workspace", "1"]) == 2
    assert "--workspace changes nothing of" in capsys.readouterr().err
