"""The classifier that a user holds: any source of images, in order, one bad image alone, from any thread, for ever."""

from __future__ import annotations

import array
import gc
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image, ImageOps

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.bundle.manifest import Candidate, Thresholds
from edgeclf_runtime.classifier import Classifier, Prediction, scores_of
from edgeclf_runtime.deploy.candidates import with_candidate
from edgeclf_runtime.embedder import Embedder
from edgeclf_runtime.errors import BundleError, DataError, UsageError
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.metrics.energy import EnergyThreshold

Shared = Callable[[str], Bundle]


@pytest.fixture(params=[1, 3], ids=["one stream", "three streams"])
def classifier(request: pytest.FixtureRequest, shared_bundle: Shared) -> Iterator[Classifier]:
    with Classifier.open(shared_bundle("reference"), SessionOptions(threads=3, streams=request.param)) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve JPEGs, their names in the order of the images."""
    place = tmp_path / "images"
    place.mkdir()
    for i, image in enumerate(tiny.images(12)):
        (place / f"{i:02}.jpg").write_bytes(tiny.encoded(image, quality=95))
    return place


class Near(float):
    """A score that equals another but for what another batch size may change."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and abs(float(self) - float(other)) <= 1e-5

    __hash__ = float.__hash__


def comparable(predictions: Iterator[Prediction]) -> list[Any]:
    """Label and scores of each prediction, to be compared."""
    return [(p.label, [(s.label, Near(s.probability)) for s in p.scores], p.error) for p in predictions]


@pytest.mark.parametrize("target", tiny.TARGETS)
def test_predictions_are_the_softmax_of_the_reference_best_first(target: str, shared_bundle: Shared) -> None:
    images = [np.asarray(image) for image in tiny.images(4)]
    with Classifier.open(shared_bundle(target)) as classifier:
        found = list(classifier.predict(images, batch_size=3))
        pixels = np.stack([classifier.bundle.manifest.pixels.load(image)[0] for image in images])
    logits = tiny.reference_logits(target, pixels).astype(float)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for prediction, row in zip(found, wanted, strict=True):
        assert prediction.label == tiny.LABELS[row.argmax()]
        assert [score.label for score in prediction.scores] == [tiny.LABELS[i] for i in np.argsort(-row)]
        assert np.allclose([s.probability for s in prediction.scores], np.sort(row)[::-1], atol=1e-4)


def test_paths_strings_bytes_files_arrays_and_folders_are_predicted_alike(classifier: Classifier, folder: Path) -> None:
    paths = sorted(folder.iterdir())
    wanted = comparable(classifier.predict(paths))
    assert len({json.dumps(each) for each in wanted}) == len(paths)
    data = [path.read_bytes() for path in paths]
    arrays = [np.asarray(tiny.opened(item)) for item in data]
    sources: list[Any] = [folder, str(folder), [str(p) for p in paths], data, [io.BytesIO(d) for d in data], arrays]
    sources += [iter(paths), [folder], (path for path in paths)]
    for source in sources:
        assert comparable(classifier.predict(source)) == wanted
    assert comparable(classifier.predict([a[:, :, ::-1] for a in arrays], channels="bgr")) == wanted
    for single in (paths[0], str(paths[0]), data[0], arrays[0], io.BytesIO(data[0])):
        assert comparable(classifier.predict(single)) == wanted[:1]


def test_a_packed_bundle_predicts_alike(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    with Classifier.open(pack(classifier.bundle, tmp_path / "road.tar")) as packed:
        assert comparable(packed.predict(folder)) == comparable(classifier.predict(folder))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 12, 100])
def test_order_and_predictions_do_not_depend_on_the_batch_size(
    batch_size: int, classifier: Classifier, folder: Path
) -> None:
    found = list(classifier.predict(folder, batch_size=batch_size))
    assert [Path(p.source).name for p in found] == [f"{i:02}.jpg" for i in range(12)]
    assert comparable(iter(found)) == comparable(classifier.predict(folder))


def test_order_is_kept_where_decoding_finishes_in_another(
    classifier: Classifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier._pipeline, "_workers", ThreadPoolExecutor(4))
    monkeypatch.setattr(classifier._pipeline, "_worker_count", 4)
    load = classifier._pipeline._load
    later_ones_are_done = threading.Event()

    def first_one_last(name: str, source: Any, channels: str) -> Any:
        if source == sorted(folder.iterdir())[0]:
            assert later_ones_are_done.wait(30)
        elif source == sorted(folder.iterdir())[2]:
            later_ones_are_done.set()
        return load(name, source, channels)

    monkeypatch.setattr(classifier._pipeline, "_load", first_one_last)
    assert [Path(p.source).name for p in classifier.predict(folder)] == [f"{i:02}.jpg" for i in range(12)]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bad_image_errs_alone(batch_size: int, classifier: Classifier, folder: Path) -> None:
    wanted = comparable(classifier.predict(folder))
    bad: list[Any] = [b"", folder / "missing.jpg", np.zeros((2, 2), np.float32), io.StringIO("text"), b"words"]
    mixed: list[Any] = []
    for i, path in enumerate(sorted(folder.iterdir())):
        mixed += [path, bad[i % len(bad)]]
    found = list(classifier.predict(mixed, batch_size=batch_size))
    assert comparable(iter(found[::2])) == wanted
    assert all(p.error and p.label is None and p.scores == () for p in found[1::2])
    assert [p.source for p in found[1:8:2]] == ["file 1", str(folder / "missing.jpg"), "array 5", "file 7"]


def test_only_bad_images_and_no_images_are_no_crash(classifier: Classifier, tmp_path: Path) -> None:
    assert [p.error is not None for p in classifier.predict([b"", b"x"], batch_size=2)] == [True, True]
    assert list(classifier.predict([])) == []
    assert list(classifier.predict(tmp_path)) == []


def test_notes_of_the_decoder_reach_the_prediction(classifier: Classifier) -> None:
    first, second = tiny.images(2)
    (prediction,) = classifier.predict(tiny.encoded(first, "GIF", save_all=True, append_images=[second]))
    assert prediction.notes == ("2 frames: the first is used",)


def test_limits_given_at_the_opening_hold(shared_bundle: Shared) -> None:
    with Classifier.open(shared_bundle("reference"), limits=Limits(megapixels=0.001)) as classifier:
        (prediction,) = classifier.predict(np.asarray(tiny.images(1)[0]))
    assert "megapixels, over the limit" in str(prediction.error)


def test_top_k_lists_the_best_and_never_more_than_there_are(classifier: Classifier) -> None:
    image = np.asarray(tiny.images(1)[0])
    for top, listed in ((1, 1), (2, 2), (3, 3), (99, 3)):
        (prediction,) = classifier.predict(image, top=top)
        assert len(prediction.scores) == listed
        assert prediction.label == prediction.scores[0].label
    assert sum(score.probability for score in prediction.scores) == pytest.approx(1.0)


def test_below_the_threshold_the_label_is_unknown(classifier: Classifier) -> None:
    image = np.asarray(tiny.images(1)[0])
    (sure,) = classifier.predict(image)
    best = sure.scores[0].probability
    (below,) = classifier.predict(image, threshold=best + 1e-9)
    (at,) = classifier.predict(image, threshold=best)
    assert (below.label, at.label) == ("unknown", sure.label)
    assert below.scores == at.scores == sure.scores


def test_thresholds_of_the_bundle_hold_unless_the_caller_gives_one(tmp_path: Path) -> None:
    image = np.asarray(tiny.images(1)[0])
    for thresholds in (Thresholds(unknown_below=1.0), Thresholds(per_class=(1.0, 1.0, 1.0))):
        place = tmp_path / str(thresholds.unknown_below)
        with Classifier.open(tiny.build(place, thresholds=thresholds)) as classifier:
            assert [p.label for p in classifier.predict(image)] == ["unknown"]
            assert [p.label for p in classifier.predict(image, threshold=0.0)] != ["unknown"]


def test_an_image_of_little_energy_is_unknown_and_the_prediction_says_by_which_rule(tmp_path: Path) -> None:
    images = [np.asarray(image) for image in tiny.images()]
    with Classifier.open(tiny.build(tmp_path / "plain")) as classifier:
        energies = [each.energy or 0.0 for each in classifier.predict(images)]
    threshold = EnergyThreshold(sorted(energies)[3], 0.01, 90)
    thresholds = Thresholds(unknown_below=1.0, energy=threshold)
    with Classifier.open(tiny.build(tmp_path / "strict", thresholds=thresholds)) as classifier:
        found = list(classifier.predict(images))
        freed = list(classifier.predict(images, threshold=0.0))
    assert [each.unknown_by for each in found] == ["energy" if e < threshold.below else "score" for e in energies]
    assert {each.label for each in found} == {"unknown"}
    assert {each.unknown_by for each in freed} == {None} and "unknown" not in {each.label for each in freed}


def test_a_candidate_keeps_the_energy_threshold_that_was_fitted_to_it(tmp_path: Path) -> None:
    of_all, own = EnergyThreshold(1.0, 0.01, 90), EnergyThreshold(0.5, 0.01, 90)
    manifest = tiny.build(tmp_path / "tiny", thresholds=Thresholds(0.3, energy=of_all)).manifest
    candidate = Candidate("other", "other", "int8", "int8", manifest.tolerances, 1.0, None, None)
    assert with_candidate(manifest, candidate).thresholds == Thresholds(0.3, energy=of_all)
    assert with_candidate(manifest, replace(candidate, energy=own)).thresholds == Thresholds(0.3, energy=own)


def test_logits_that_are_not_finite_are_an_error_not_a_prediction(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.array([[np.nan, 1.0, 2.0], [np.inf, 0.0, 0.0], [0.0, 1.0, 2.0]], np.float32)
    monkeypatch.setattr(classifier.session.check_usable(), "infer", lambda batch: broken[: len(batch)])
    found = list(classifier.predict([np.asarray(p) for p in tiny.images(3)], batch_size=3))
    assert [p.label for p in found] == [None, None, "sky"]
    assert "NaN or infinite" in str(found[0].error)
    json.dumps([asdict(p) for p in found], allow_nan=False)


def test_scores_are_softmax_sigmoid_or_margins(bundle: Bundle) -> None:
    logits = np.array([[2.0, 0.0, -1000.0]], np.float32)
    manifest = replace(bundle.manifest, temperature=2.0)
    e = np.e
    assert np.allclose(scores_of(logits, manifest), [[e / (e + 1), 1 / (e + 1), 0]])
    assert np.allclose(scores_of(logits, replace(manifest, scores="sigmoid")), [[e / (e + 1), 0.5, 0]])
    assert np.array_equal(scores_of(logits, replace(manifest, scores="margin")), logits)


def test_8_threads_share_one_classifier(classifier: Classifier, folder: Path) -> None:
    wanted = comparable(classifier.predict(folder))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda i: comparable(classifier.predict(folder, batch_size=1 + i % 4)), range(24)):
            assert found == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": "hsv"}, "no channel order 'hsv'; choose one of rgb, bgr"),
        ({"batch_size": 0}, "at least 1"),
        ({"top": 0}, "at least 1"),
    ],
)
def test_options_that_are_not_valid_are_refused_at_once(
    arguments: dict[str, Any], message: str, classifier: Classifier
) -> None:
    with pytest.raises(UsageError, match=message):
        classifier.predict([], **arguments)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (5, "the number 5; make an array"),
        (None, "NoneType; give one of these"),
        ([None], "NoneType; give one of these"),
        (object(), "object; give one of these"),
        ([[[0, 255], [9, 9]]], "the number 0; make an array"),
        (array.array("B", b"x"), "the number 120; make an array"),
        ({"bytes": b"", "path": "a.jpg"}, "a dict; give its entry"),
        ([{"bytes": b""}], "a dict; give its entry"),
    ],
)
def test_what_is_no_image_is_named_with_what_to_give(images: Any, found: str, classifier: Classifier) -> None:
    with pytest.raises(UsageError, match=f"^wanted an image .*, found {found}") as failure:
        list(classifier.predict(images))
    assert "\n" not in str(failure.value)


class Tensor:
    """What torch, TensorFlow and JAX have in common, iterated over its first axis as theirs are."""

    def __dlpack__(self) -> Any:
        raise AssertionError("not requested")

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("iteration over a 0-d tensor")


@pytest.mark.parametrize("inside", [False, True])
def test_a_tensor_of_another_library_is_refused_with_what_to_give(inside: bool, classifier: Classifier) -> None:
    with pytest.raises(UsageError, match=r"found tests\.Tensor; give numpy arrays of \(H, W, 3\) uint8"):
        list(classifier.predict([Tensor()] if inside else Tensor()))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 3, 32, 32)])
def test_what_the_error_about_a_torch_tensor_suggests_is_an_image(
    shape: tuple[int, ...], classifier: Classifier
) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(shape, dtype=torch.uint8)
    with pytest.raises(UsageError, match=f"found torch.Tensor of shape .*{shape[-1]}\\), uint8; give ") as failure:
        classifier.predict(tensor)
    (given,) = re.findall("give (.*), uint8 of 0..255", str(failure.value))
    assert {p.error for p in classifier.predict(eval(given, {"tensor": tensor, "list": list}))} == {None}


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"colours come last: array\.transpose\(1, 2, 0\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"give its images one by one: list\(batch\)"),
        (np.array(["a.jpg"]), r"array\.tolist\(\)"),
        (np.zeros((8, 8, 3), np.float32), "scale them to 0..255"),
    ],
)
def test_an_array_that_is_no_image_gets_an_error_with_the_fix(array: Any, hint: str, classifier: Classifier) -> None:
    (prediction,) = classifier.predict(array)
    assert re.search(hint, str(prediction.error))


@pytest.mark.parametrize("target", tiny.TARGETS)
def test_every_form_of_an_image_gives_the_logits_of_its_file(
    target: str, shared_bundle: Shared, tmp_path: Path
) -> None:
    path, (image,) = tmp_path / "sideways.jpg", tiny.images(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    path.write_bytes(data := tiny.encoded(image.resize((40, 30)), exif=exif))
    loaded = Image.open(path)
    loaded.load()
    upright = np.asarray(ImageOps.exif_transpose(loaded))
    forms: list[Any] = [str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), path.open("rb")]
    forms += [Image.open(path), loaded, loaded.copy(), upright, Image.fromarray(upright)]
    with Classifier.open(shared_bundle(target)) as classifier:
        (wanted,) = classifier.predict(path)
        for form in forms:
            (found,) = classifier.predict(form)
            assert found.scores == wanted.scores
        names = [prediction.source for prediction in classifier.predict([*forms[2:4], Image.open(path), upright])]
    assert names == ["file 0", "file 1", "image 2", "array 3"]


def test_an_embedder_takes_and_refuses_the_same_forms(tmp_path: Path) -> None:
    data = tiny.encoded(tiny.images(1)[0])
    with Embedder.open(tiny.build(tmp_path / "encoder", task="embed-image", labels=())) as embedder:
        (wanted,) = embedder.embed_images(data)
        for form in (bytearray(data), memoryview(data), io.BytesIO(data), Image.open(io.BytesIO(data))):
            (found,) = embedder.embed_images(form)
            assert np.array_equal(found.vector, wanted.vector)
        with pytest.raises(UsageError, match=r"wanted an image .*, found NoneType"):
            list(embedder.embed_images([None]))  # type: ignore[list-item]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_of_any_kind_are_an_image(kind: Any, classifier: Classifier) -> None:
    data = tiny.encoded(tiny.images(1)[0], "PNG")
    wanted = comparable(classifier.predict(data))
    assert comparable(classifier.predict(kind(data))) == wanted
    assert comparable(classifier.predict([kind(data), kind(data)])) == wanted * 2
    (damaged,) = classifier.predict(kind(data[:100]))
    assert damaged.error is not None


def test_a_bundle_of_another_task_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="its task is embed-image, not classify"):
        Classifier.open(tiny.reseal(bundle.path, task="embed-image"))


def test_an_unreadable_folder_is_an_error_not_no_images(classifier: Classifier, plain_user: Path) -> None:
    (plain_user / "locked").mkdir(mode=0)
    with pytest.raises(DataError, match="Permission denied"):
        list(classifier.predict(plain_user / "locked"))


def test_a_closed_classifier_is_a_clear_error(shared_bundle: Shared) -> None:
    classifier = Classifier.open(shared_bundle("reference"))
    running = classifier.predict([np.asarray(p) for p in tiny.images(8)])
    next(running)
    classifier.close()
    classifier.close()
    with pytest.raises(UsageError, match="closed"):
        classifier.predict([])
    with pytest.raises(UsageError, match="closed"):
        list(running)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_an_error_and_no_hang(classifier: Classifier) -> None:
    image = np.asarray(tiny.images(1)[0])
    running = classifier.predict([image] * 30)
    next(running)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a hang dies here, and so fails
        refused = 0
        for use in (lambda: list(classifier.predict(image)), lambda: list(running)):
            try:
                use()
            except UsageError as error:
                refused += "fork" in str(error)
        os._exit(0 if refused == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(running)) == 29


def test_images_are_read_only_a_little_ahead(classifier: Classifier) -> None:
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        while True:
            taken += 1
            yield np.asarray(tiny.images(1)[0])

    predictions = classifier.predict(endless(), batch_size=2)
    for _ in range(10):
        next(predictions)
    assert taken <= 10 + 2 * 3 * 2  # two groups of two for each of at most three workers


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("taken", [0, 1, 2, 5, 30])
def test_what_was_taken_before_its_source_failed_is_predicted_first(
    taken: int, batch_size: int, classifier: Classifier
) -> None:
    image = np.asarray(tiny.images(1)[0])

    def failing() -> Iterator[Any]:
        yield from [image] * taken
        raise OSError("camera gone")

    found = []
    with pytest.raises(OSError, match="camera gone"):
        found.extend(classifier.predict(failing(), batch_size=batch_size))
    assert [prediction.source for prediction in found] == [f"array {number}" for number in range(taken)]
    assert all(prediction.label for prediction in found)
    assert len(list(classifier.predict([image] * 3))) == 3


def test_a_generator_closed_early_leaves_nothing_behind(classifier: Classifier) -> None:
    image = np.asarray(tiny.images(1)[0])
    for _ in range(50):
        predictions = classifier.predict([image] * 40, batch_size=8)
        next(predictions)
        predictions.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 30
    while classifier._pipeline._workers._work_queue.qsize() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert classifier._pipeline._workers._work_queue.qsize() == 0
    assert threading.active_count() <= 2 + len(os.sched_getaffinity(0)) * 8
    assert len(list(classifier.predict([image] * 3))) == 3


def test_closing_ends_the_decoding_threads(shared_bundle: Shared) -> None:
    before = threading.active_count()
    for _ in range(5):
        with Classifier.open(shared_bundle("reference")) as classifier:
            list(classifier.predict([np.asarray(p) for p in tiny.images(4)]))
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("streams", "predictions"), [(3, 3_000), *(pytest.param(each, 10_000, marks=pytest.mark.slow) for each in (1, 3))]
)
def test_memory_is_flat_over_thousands_of_predictions(streams: int, predictions: int, shared_bundle: Shared) -> None:
    pixels = list(tiny.random_pixels(500))
    classifier = Classifier.open(shared_bundle("reference"), SessionOptions(threads=3, streams=streams))

    def predict(count: int) -> int:
        """Bytes held after `count` predictions."""
        seen = sum(1 for _ in classifier.predict((pixels[i % 500] for i in range(count)), batch_size=16))
        assert seen == count
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        warm = predict(1000)
        assert predict(predictions) - warm < 10 * predictions
    finally:
        tracemalloc.stop()
        classifier.close()


def test_torch_is_not_imported_by_what_runs_without_it() -> None:
    script = (
        "import sys, edgeclf_runtime.classifier, edgeclf_runtime.deploy.verify; print(sorted({'torch', 'timm', 'onnx', "
    )
    script += "'onnxruntime', 'openvino', 'torchvision', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"
