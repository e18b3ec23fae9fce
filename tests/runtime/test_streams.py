"""Many images at the same time: every engine's streams, the pixels of the fast mode."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf_runtime.backends import ov
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, UsageError
from edgeclf_runtime.images import simd_resize
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.pixels import Interpolation, Pixels, mode_facts
from edgeclf_runtime.images.threads import in_each_thread
from edgeclf_runtime.session import open_session

Shared = Callable[[str], Bundle]
MANY = SessionOptions(threads=2, hint="throughput")


@pytest.mark.parametrize("target", tiny.TARGETS)
def test_with_two_streams_every_engine_predicts_as_with_one(target: str, shared_bundle: Shared) -> None:
    images = [np.asarray(image) for image in tiny.images(9)]
    found = []
    for options in (SessionOptions(threads=2), MANY):
        with Classifier.open(shared_bundle(target), options) as classifier:
            found.append(list(classifier.predict(images, batch_size=2)))
    for alone, together in zip(*found, strict=True):
        assert alone.label == together.label
        assert np.allclose([s.probability for s in alone.scores], [s.probability for s in together.scores], atol=1e-5)


def test_streams_share_the_threads() -> None:
    shares = [SessionOptions(threads=4, streams=streams).threads_per_stream for streams in (1, 2, 3, 4)]
    assert shares == [4, 2, 1, 1]
    assert SessionOptions(threads=4).stream_count == 1
    assert SessionOptions(threads=4, hint="throughput").stream_count == 4
    with pytest.raises(UsageError, match="streams must be 1 to 4"):
        SessionOptions(threads=4, streams=5)


def test_two_groups_are_in_the_engine_at_the_same_time(shared_bundle: Shared) -> None:
    with Classifier.open(shared_bundle("reference"), MANY) as classifier:
        both_are_here, waited = threading.Barrier(2, timeout=30), []
        outputs = classifier.outputs

        def outputs_of_both(pixels: Any, **options: Any) -> Any:
            waited.append(both_are_here.wait())
            return outputs(pixels, **options)

        classifier.outputs = outputs_of_both  # type: ignore[method-assign]
        assert len(list(classifier.predict([np.asarray(p) for p in tiny.images(4)]))) == 4
    assert sorted(waited) == [0, 0, 1, 1]


def test_a_lone_image_is_inferred_in_the_callers_thread(shared_bundle: Shared) -> None:
    threads = []

    with Classifier.open(shared_bundle("reference"), MANY) as classifier:
        outputs = classifier.outputs

        def outputs_and_thread(pixels: Any, **options: Any) -> Any:
            threads.append(threading.current_thread())
            return outputs(pixels, **options)

        classifier.outputs = outputs_and_thread  # type: ignore[method-assign]
        image = np.asarray(tiny.images(1)[0])
        alone, (together, _) = list(classifier.predict(image)), list(classifier.predict([image, image]))
    assert alone[0].scores == together.scores
    assert threads[0] is threading.main_thread() and threads[1] is not threading.main_thread()


def test_an_engine_that_fails_ends_the_prediction_with_its_error(shared_bundle: Shared) -> None:
    def broken(pixels: Any, **options: Any) -> Any:
        raise BackendError("out of memory")

    with Classifier.open(shared_bundle("reference"), MANY) as classifier:
        classifier.outputs = broken  # type: ignore[method-assign]
        with pytest.raises(BackendError, match="out of memory"):
            list(classifier.predict([np.asarray(p) for p in tiny.images(12)]))


@pytest.mark.parametrize("options", [SessionOptions(threads=2), MANY])
def test_a_classifier_closed_by_another_thread_ends_the_prediction_with_one_sentence(
    options: SessionOptions, shared_bundle: Shared
) -> None:
    classifier = Classifier.open(shared_bundle("reference"), options)
    closing = threading.Event()

    def endless() -> Any:
        for place in range(10_000):
            if place == 20:
                closing.set()
                closer.join(30)
            yield np.asarray(tiny.images(1)[0])

    def close() -> None:
        closing.wait(30)
        classifier.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(UsageError, match="open the bundle again"):
        list(classifier.predict(endless()))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_forked_child_closes_its_parents_classifier_without_a_hang(target: str, shared_bundle: Shared) -> None:
    images = [np.asarray(image) for image in tiny.images(4)]
    with Classifier.open(shared_bundle(target), SessionOptions(threads=2)) as classifier:
        assert len(list(classifier.predict(images, batch_size=2))) == 4
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a hang dies here, and so fails
            classifier.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(list(classifier.predict(images))) == 4


def test_decoding_takes_no_more_threads_than_the_engine(shared_bundle: Shared) -> None:
    with Classifier.open(shared_bundle("reference"), SessionOptions(threads=1)) as classifier:
        before = threading.active_count()
        assert len(list(classifier.predict([np.asarray(p) for p in tiny.images(8)]))) == 8
        assert threading.active_count() - before <= 1


def test_openvino_proves_what_it_runs_for_one_image_and_for_several(shared_bundle: Shared) -> None:
    bundle = shared_bundle("openvino")
    batch = tiny.random_pixels(9)
    with open_session(bundle) as session:
        engine: Any = session.check_usable()
        together, alone = session(batch), np.concatenate([session(batch[i : i + 1]) for i in range(9)])
        assert engine.model(1) is not engine.model(9)
    assert np.allclose(together, alone, atol=1e-4)


def test_threads_have_openvino_models_of_their_own_where_the_weights_are_few(
    shared_bundle: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, batch = shared_bundle("openvino"), tiny.random_pixels(1)
    for limit, own in ((512, True), (0, False)):
        monkeypatch.setattr(ov, "_MOST_COPIES_MB", limit)
        with open_session(bundle, SessionOptions(threads=2, streams=2)) as session:
            engine: Any = session.check_usable()
            assert (engine.model(1) is not engine.model(1)) is own
            with ThreadPoolExecutor(2) as pool:
                first, *others = pool.map(lambda _: session(batch), range(6))
            assert all(np.array_equal(first, other) for other in others)


def _photograph(size: tuple[int, int]) -> Image.Image:
    """Smooth shapes with some noise, as a camera's."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (12, 18, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray(np.clip(smooth + random.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_fast_pixels_of_a_large_jpeg_are_near_the_exact_ones(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = tiny.encoded(_photograph((1201, 801)), quality=95, exif=exif)
    pixels = Pixels("shorter", (96, 96), (80, 80))
    exact, fast = (pixels.load(data, mode=mode)[0].astype(int) for mode in ("exact", "fast"))
    assert 0 < np.abs(exact - fast).mean() < 1 and np.abs(exact - fast).max() <= 14
    reduced = decode(data, reduce=pixels._least_size)
    assert min(reduced.image.size) >= 2 * 96 and max(reduced.image.size) < 801
    assert reduced.reduced is not None and sorted(reduced.reduced.full_px) == [801, 1201]


@pytest.mark.parametrize(
    "interpolation",
    [
        "nearest",
        "bilinear",
        "lanczos",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("bicubic", "box", "hamming")),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_small_images_and_other_formats_are_a_level_off_at_most(kind: str, interpolation: Interpolation) -> None:
    size = (600, 400) if kind == "PNG" else (190, 150)
    data = tiny.encoded(_photograph(size), kind)
    for pixels in (Pixels("shorter", (96, 96), (80, 80), interpolation), Pixels("fit", (96, 96), (96, 96))):
        exact, fast = (pixels.load(data, mode=mode)[0].astype(int) for mode in ("exact", "fast"))
        assert np.abs(exact - fast).max() <= 1


def test_without_the_package_pillow_resizes_and_the_facts_record_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cykooz_resizer")
    data, pixels = tiny.encoded(_photograph((900, 600)), "PNG"), Pixels("shorter", (96, 96), (80, 80))
    by_simd, simd_facts = pixels.load(data, mode="fast")[0].astype(int), mode_facts("fast")
    monkeypatch.setattr(simd_resize, "_package", lambda: None)
    by_pillow, pillow_facts = pixels.load(data, mode="fast")[0].astype(int), mode_facts("fast")
    assert 0 < np.abs(by_simd - by_pillow).max() <= 1
    assert simd_facts["resizer"].startswith("cykooz-resizer 4.") and pillow_facts == {"pixels": "fast"}
    assert mode_facts("exact") == {}


def test_fast_pixels_have_a_proof_of_their_own(bundle: Bundle) -> None:
    exact, fast = verify(bundle), verify(bundle, mode="fast")
    assert "pixels" not in exact.machine and fast.machine["pixels"] == "fast"
    places = {save_proof(bundle, exact), save_proof(bundle, fast)}
    assert len(places) == 2 and None not in places
    with Classifier.open(bundle, mode="fast") as classifier:
        assert classifier.facts["pixels"] == "fast"


def test_each_thread_of_a_pool_does_its_share_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert len(set(in_each_thread(pool, 4, threading.get_ident))) == 4


def test_batches_of_any_size_need_few_compiled_shapes_and_give_what_single_images_give(shared_bundle: Shared) -> None:
    batch = tiny.random_pixels(12)
    with open_session(shared_bundle("openvino")) as session:
        alone = np.concatenate([session(batch[i : i + 1]) for i in range(12)])
        for count in (4, 3, 1, 2, 8, 6, 12, 11, 5):
            assert np.allclose(session(batch[:count]), alone[:count], atol=1e-4), count
        engine: Any = session.check_usable()
        assert set(engine._compiled) <= {1, 4, 8, 12}


def test_reading_a_folder_twice_gives_the_same_predictions_in_the_same_order(
    shared_bundle: Shared, tmp_path: Path
) -> None:
    for i, image in enumerate(tiny.images(30)):
        (tmp_path / f"{i:02}.jpg").write_bytes(tiny.encoded(image))
    with Classifier.open(shared_bundle("onnx"), MANY) as classifier:
        first, second = (list(classifier.predict(tmp_path, batch_size=3)) for _ in range(2))
    assert first == second and [Path(p.source).name for p in first] == [f"{i:02}.jpg" for i in range(30)]


def test_openvino_starts_from_its_cache_and_gives_the_same_outputs(shared_bundle: Shared, tmp_path: Path) -> None:
    bundle, batch = shared_bundle("openvino"), tiny.random_pixels(1)
    outputs, from_cache = [], []
    for _ in range(2):
        with open_session(bundle, SessionOptions(cache=tmp_path / "cache")) as session:
            engine: Any = session.check_usable()
            from_cache.append(engine.model(1).get_property("LOADED_FROM_CACHE"))
            outputs.append(session(batch))
    assert from_cache == [False, True] and np.array_equal(*outputs)
