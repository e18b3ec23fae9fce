"""`zeroshot`, `export --encoder` and `embed` from the command line: what they write, and how they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from clip_models import small_clip

from edgeclf import cli

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
SMALL = "the folder of small_clip()"


def test_words_become_a_classifier_that_predicts_verifies_packs_and_inspects(edgeclf: Run, photos: Path) -> None:
    made = edgeclf("zeroshot", "red,green,blue", "-m", small_clip(), "--templates", "a {} picture", "--json")
    assert made.returncode == 0, made.stderr.decode()
    document = json.loads(made.stdout)
    assert document["verb"] == "zeroshot" and document["source"]["classes"] == 3
    (bundle,) = document["bundles"]
    assert bundle["path"] == "bundles/small-zeroshot-onnx-fp32" and bundle["proof"]["verdict"] == "pass"
    predicted = edgeclf("predict", bundle["path"], photos, "--json")
    assert len(json.loads(predicted.stdout)["predictions"]) == 3
    assert edgeclf("verify", bundle["path"]).returncode == 0
    assert edgeclf("pack", bundle["path"]).returncode == 0
    shown = edgeclf("inspect", f"{bundle['path']}.tar").stdout.decode()
    assert "1 template (given): 'a {} picture'; scale 14.29" in shown


@pytest.mark.slow
def test_images_are_found_by_words(edgeclf: Run, photos: Path, tmp_path: Path) -> None:
    made = edgeclf("export", "-m", small_clip(), "--encoder", "image", "--encoder", "text")
    assert made.returncode == 0, made.stderr.decode()
    many = ("--streams", "2", "--threads", "2", "--pixels", "fast", "-b", "2")
    pictures = edgeclf("embed", "bundles/small-image-onnx-fp32", photos, "-o", "pictures.npz", *many)
    assert pictures.returncode == 0, pictures.stderr.decode()
    words = edgeclf("embed", "bundles/small-text-onnx-fp32", "--text", "red", "--text", "a dog", "-o", "words.npz")
    assert words.returncode == 0, words.stderr.decode()
    seen, texts = np.load(tmp_path / "pictures.npz"), np.load(tmp_path / "words.npz")
    assert seen["space"] == texts["space"]
    assert texts["sources"].tolist() == ["red", "a dog"]
    assert [Path(source).name for source in seen["sources"]] == ["blue.png", "green.png", "red.png"]
    recipe = Path(__file__).parents[3].joinpath("docs", "clip.md").read_text().split("```python")[1].split("```")[0]
    searched = subprocess.run([sys.executable, "-c", recipe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(searched.stdout.splitlines()) == 3 and ".png" in searched.stdout
    verified = edgeclf("verify", "bundles/small-text-onnx-fp32")
    assert verified.returncode == 0 and b"token for token" in verified.stdout
    assert b"next: edgeclf embed bundles/small-text-onnx-fp32 --text TEXT" in verified.stderr
    refused = edgeclf("predict", "bundles/small-text-onnx-fp32", photos)
    assert refused.returncode == 3 and b"its task is embed-text, not classify" in refused.stderr
    refused = edgeclf("eval", "bundles/small-image-onnx-fp32", photos)
    assert refused.returncode in (2, 3) and len(refused.stderr.splitlines()) == 1
    packed = edgeclf("pack", "bundles/small-image-onnx-fp32")
    assert b"edgeclf embed small-image-onnx-fp32.tar IMAGES" in packed.stderr


def test_an_encoder_whose_proof_failed_here_embeds_nothing_unless_unproven_is_given(
    edgeclf: Run, photos: Path, tmp_path: Path
) -> None:
    tiny.build(tmp_path / "encoder")
    tiny.reseal(tmp_path / "encoder", task="embed-image")
    tiny.replace_weights(tmp_path / "encoder", seed=1)
    assert edgeclf("verify", "encoder").returncode == 1
    refused = edgeclf("embed", "encoder", photos)
    assert refused.returncode == 1 and b"failed its proof on this machine" in refused.stderr
    assert not (tmp_path / "embeddings.npz").exists()
    done = edgeclf("embed", "encoder", photos, "--allow-failed-proof")
    assert done.returncode == 0 and done.stderr.startswith(b"FAILED")
    assert (tmp_path / "embeddings.npz").exists()


def test_a_bad_image_is_left_out_with_its_line_and_exit_code_3(edgeclf: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    assert edgeclf("export", "-m", small_clip(), "--encoder", "image", "-t", "pytorch").returncode == 0
    done = edgeclf("embed", "bundles/small-image-pytorch-fp32", photos)
    assert done.returncode == 3
    assert b"1 of 4 images could not be read and are left out" in done.stderr
    assert len(np.load(tmp_path / "embeddings.npz")["embeddings"]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("zeroshot", "cat"), 2, "one label, 'cat', leaves nothing to choose from"),
        (("zeroshot", "cat,cat", "--pretrained", "random"), 2, "'cat' occurs more than once"),
        (("zeroshot", "missing.txt", "--pretrained", "random"), 3, "missing.txt: No such file"),
        (("zeroshot", "cat,dog", "--pretrained", "random", "--templates", "x"), 2, "no templates 'x'"),
        (("zeroshot", "cat,dog", "-m", "ViT-B-23"), 2, "did you mean ViT-B-32"),
        (("zeroshot", "cat,dog"), 2, "give the weights of ViT-B-32 with --pretrained"),
        (("export", "--encoder", "image"), 2, "--encoder takes the CLIP model --model"),
        (("export", "-m", "ViT-B-32", "--pretrained", "random"), 2, "give --encoder image, --encoder text, or both"),
        (
            ("export", "-m", "ViT-B-32", "--encoder", "audio"),
            2,
            "--encoder takes no 'audio'; choose one of image, text",
        ),
        (("export", "-m", SMALL, "--encoder", "text", "-t", "pytorch"), 2, "or a text encoder has none"),
        (("train", "photos", "--weights", "clip:random"), 2, "name the CLIP model with --model"),
        (("embed", "missing", "--text", "cat"), 3, "no such bundle"),
        (
            ("embed", "missing", "cat.jpg", "--pixels", "quick"),
            2,
            "--pixels takes no 'quick'; choose one of exact, fast",
        ),
        (("embed", "missing", "cat.jpg", "--threads", "2", "--streams", "3"), 2, "streams must be 1 to 2"),
        (("predict", "missing", "cat.jpg", "--batch-size", "some"), 2, "a number from 1, or auto, found 'some'"),
        (
            ("predict", "missing", "cat.jpg", "--pixels", "quick"),
            2,
            "--pixels takes no 'quick'; choose one of exact, fast",
        ),
        (("embed", "missing"), 2, "name either images, or texts"),
        (("embed", "missing", "--text", "cat", "-o", "out.csv"), 2, "a name that ends in .npz"),
    ],
)
def test_invalid_options_are_refused_in_one_line(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run([str(small_clip()) if each == SMALL else each for each in arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
