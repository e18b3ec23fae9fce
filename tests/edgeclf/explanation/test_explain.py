"""Maps of what matters: a planted shortcut is found on several engines, curves are right, bad inputs are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from fake_gpu import FakeGpu
from numpy.typing import NDArray
from PIL import Image

from edgeclf.cli import run
from edgeclf.explanation.curves import STEPS, centre_prior, curves_of
from edgeclf.explanation.rise import Perturbation, saliency_maps
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.errors import BackendError

SHORTCUT = 2  # pixels of a white mark in the upper left corner of one class


def marked(number: int) -> NDArray[np.uint8]:
    """Noise; every third image, of the class "sky", has the mark."""
    image = np.random.default_rng(number).integers(60, 160, (tiny.SIDE, tiny.SIDE, 3), dtype=np.uint8)
    if number % 3 == 2:
        image[:SHORTCUT, :SHORTCUT] = 255
    return image


def shortcut_bundle(folder: Path, target: str, batch: str | int) -> Bundle:
    """A linear classifier that was fitted to such images: nothing but the mark tells "sky" from the others."""
    bundle = tiny.build(folder, target, batch=batch)
    images = np.stack([marked(number) for number in range(900)]).reshape(900, -1) / 255
    wanted = 4 * np.eye(3)[np.arange(900) % 3]
    solved = np.linalg.lstsq(np.hstack([images, np.ones((900, 1))]), wanted, rcond=None)[0].astype(np.float32)
    weight, bias = solved[:-1], solved[-1]
    if target == "reference":
        np.savez(folder / "model.npz", weight=weight, bias=bias)
    else:
        (folder / "model.onnx").write_bytes(tiny.onnx_linear(weight, bias, batch).SerializeToString())
    return tiny.reseal(bundle.path)


@pytest.mark.parametrize(("target", "batch"), [("reference", "batch"), ("onnx", 3)])
def test_a_planted_shortcut_is_what_the_map_shows(
    target: str, batch: str | int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = shortcut_bundle(tmp_path / "shortcut", target, batch)
    Image.fromarray(marked(902)).save(tmp_path / "sky.png")
    command = ["explain", str(bundle.path), str(tmp_path / "sky.png"), "-o", str(tmp_path / "why"), "--json"]
    assert run(command) == 0
    (image,) = json.loads(capfd.readouterr().out)["explained"]["images"]
    why = image["explanation"]
    assert image["prediction"]["label"] == why["label"] == "sky"
    found = np.array(why["map"])
    assert found.shape == (tiny.SIDE, tiny.SIDE)
    assert max(np.unravel_index(found.argmax(), found.shape)) < SHORTCUT
    inside = np.zeros(found.shape, bool)
    inside[:SHORTCUT, :SHORTCUT] = True
    assert found[inside].mean() > 0.75 > 0.5 > found[~inside].mean()
    assert why["curves"]["deletion_auc"] < why["centre_curves"]["deletion_auc"]
    page = (tmp_path / "why" / "explanations.html").read_text()
    assert "sky.png" in page and "http" not in page.partition("<body>")[2].replace("www.w3.org", "")
    assert (tmp_path / "why" / image["picture"]).read_bytes().startswith(b"\x89PNG")


def test_each_of_several_labels_has_a_map_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    thresholds = Thresholds(per_class=(0.0, 1.0, 0.0))
    several = tiny.build(tmp_path / "several", scores="sigmoid", multi_label=True, thresholds=thresholds)
    Image.fromarray(marked(1)).save(tmp_path / "view.png")
    command = ["explain", str(several.path), str(tmp_path / "view.png"), "--masks", "8", "--json", "--force"]
    command += ["-o", str(tmp_path / "why")]
    predicted = {tiny.LABELS[0], tiny.LABELS[2]}
    for wanted, more in ((predicted, ()), ({tiny.LABELS[1]}, ("--label", tiny.LABELS[1]))):
        assert run([*command, *more]) == 0
        shown = capfd.readouterr()
        images = json.loads(shown.out)["explained"]["images"]
        assert {each["explanation"]["label"] for each in images} == wanted
        assert {each["picture"] for each in images} <= {path.name for path in (tmp_path / "why").iterdir()}
        assert ("1 image, 2 labels" in shown.err) == (len(wanted) == 2)


@pytest.mark.parametrize("target", ["onnx", "openvino", "tensorrt"])
def test_a_map_is_the_same_on_every_engine(target: str, tmp_path: Path, gpu: FakeGpu) -> None:
    bundle = tiny.build(tmp_path / target, target)
    if target == "tensorrt":
        bundle = build(bundle, destination=tmp_path / "built").bundle
    pixels = tiny.random_pixels(1)[0]
    with Classifier.open(bundle) as classifier:
        found = saliency_maps(classifier.scores, pixels, (0, 2), Perturbation(masks=20))
    with Classifier.open(tiny.build(tmp_path / "reference")) as classifier:
        wanted = saliency_maps(classifier.scores, pixels, (0, 2), Perturbation(masks=20))
    assert np.allclose(found, wanted, atol=1e-4)


def test_masks_come_in_batches_and_the_same_seed_gives_the_same_map_whatever_the_batch() -> None:
    pixels, sizes = tiny.random_pixels(1)[0], []

    def score(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        sizes.append(len(images))
        return images.reshape(len(images), -1).mean(axis=1, keepdims=True) / 255

    maps = [saliency_maps(score, pixels, (0,), Perturbation(masks=50, batch_size=size)) for size in (7, 50)]
    assert np.allclose(*maps)
    assert sizes == [7] * 7 + [1, 50]
    assert not np.allclose(maps[0], saliency_maps(score, pixels, (0,), Perturbation(masks=50, seed=1)))


def test_curves_of_a_perfect_map_fall_and_rise_at_once() -> None:
    """The score counts white pixels, of which the upper quarter of the image has all."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4] = 255

    def score(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return (images[..., 0] == 255).mean(axis=(1, 2))[:, np.newaxis] * 4

    found = curves_of(score, pixels, (pixels[..., 0] / 255).astype(np.float64), 0, 8)
    shares = np.linspace(0, 1, STEPS + 1)
    assert found.deletion == pytest.approx(np.maximum(1 - 4 * shares, 0), abs=0.02)
    assert found.insertion == pytest.approx(np.minimum(4 * shares, 1), abs=0.02)
    centre = curves_of(score, pixels, centre_prior(16, 16), 0, 8)
    assert found.deletion_auc < centre.deletion_auc and found.insertion_auc > centre.insertion_auc


def test_outputs_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(BackendError, match="NaN or infinite"):
        saliency_maps(lambda images: np.full((len(images), 1), np.nan), tiny.random_pixels(1)[0], (0,))


def test_an_unreadable_image_costs_itself_alone_and_exit_code_3(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.build(tmp_path / "tiny")
    tiny.images()[0].save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert run(["explain", "tiny", "good.png", "bad.png", "--masks", "8", "--label", "leaf"]) == 3
    shown = capfd.readouterr()
    assert "good.png" in shown.out and "leaf" in shown.out
    assert "bad.png: not an image" in shown.err and "1 of 2 images could not be read" in shown.err
    document = json.loads((tmp_path / "explanations/tiny/explanations.json").read_text())
    assert [each["explanation"] is None for each in document["images"]] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["good.png", "--label", "zebra"], 2, "no class 'zebra' in tiny"),
        (["good.png", "-o", "there"], 2, "there"),
        (["bad.png"], 3, "no image could be read; the first: bad.png: not an image"),
        (["empty"], 3, "no images found in empty"),
    ],
)
def test_what_can_not_be_explained_is_refused_and_leaves_nothing(
    arguments: Sequence[str],
    code: int,
    words: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.build(tmp_path / "tiny")
    tiny.images()[0].save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    for folder in ("there", "empty"):
        (tmp_path / folder).mkdir()
    assert run(["explain", "tiny", *arguments]) == code
    assert words in capfd.readouterr().err
    assert not (tmp_path / "explanations").exists() or not any((tmp_path / "explanations").iterdir())


def test_the_public_function_takes_a_path_and_gives_plain_results(tmp_path: Path) -> None:
    from edgeclf import ExplainOptions, explain

    tiny.build(tmp_path / "tiny")
    tiny.images()[1].save(tmp_path / "one.png")
    done: Any = explain(tmp_path / "tiny", [tmp_path / "one.png"], ExplainOptions(masks=5, output=tmp_path / "why"))
    assert done.images[0].explanation.label in tiny.LABELS
    assert done.folder == tmp_path / "why"
