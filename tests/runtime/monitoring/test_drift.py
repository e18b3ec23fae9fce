"""Drift: planted changes are found, draws of the same images raise no alarm, other bundles are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.decision import Prediction, Score
from edgeclf_runtime.errors import BundleError, DataError, UsageError
from edgeclf_runtime.monitoring.counter import PredictionCounter, SummaryFile
from edgeclf_runtime.monitoring.drift import Drift, find_drift
from edgeclf_runtime.monitoring.image_statistics import image_statistics
from edgeclf_runtime.monitoring.permutation import population_stability
from edgeclf_runtime.monitoring.summary import VALIDATION, Summary, ValidationCounter, parse_summary, read_summary

Make = Callable[..., Path]
LABELS = ("red", "green", "blue")


def seen(random: np.random.Generator, images: int, *, light: float = 1.0, gone: int = -1) -> NDArray[np.uint8]:
    """(images, 8, 8, 3) pixels whose class is the brightest channel, under more or less light."""
    classes = [number for number in range(3) if number != gone]
    base = random.normal(90, 15, (images, 1, 1, 1)) + random.normal(0, 12, (images, 8, 8, 3))
    base[np.arange(images), :, :, random.choice(classes, images)] += 60
    return np.clip(light * base, 0, 255).astype(np.uint8)


def logits_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(pixels.mean(axis=(1, 2)) / 30, dtype=np.float32)


@pytest.fixture
def watched(tmp_path: Path, make_bundle: Make) -> Bundle:
    """A bundle that keeps a summary of 300 validation images."""
    place = make_bundle(tmp_path / "watched", LABELS)
    manifest = Bundle.open(place).manifest
    counter = ValidationCounter(manifest)
    pixels = seen(np.random.default_rng(0), 300)
    counter.add(map(image_statistics, pixels), logits_of(pixels))
    (place / VALIDATION).write_bytes(counter.summary().to_bytes())
    seal(place, manifest)
    return Bundle.open(place)


def counted(bundle: Bundle, pixels: NDArray[np.uint8]) -> Summary:
    counter = PredictionCounter(bundle)
    for image, row in zip(pixels, logits_of(pixels), strict=True):
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        best = int(row.argmax())
        energy = float(np.log(np.exp(row.astype(float)).sum()))
        prediction = Prediction("", LABELS[best], (Score(LABELS[best], float(shares[best])),), energy=energy)
        counter.count(image, prediction)
    return counter.summary()


def drifted(found: Drift) -> set[str]:
    return {change.name for change in found.changes if change.verdict == "drifted"}


def test_a_darker_camera_is_found(watched: Bundle) -> None:
    found = find_drift(watched, counted(watched, seen(np.random.default_rng(1), 300, light=0.7)))
    assert found.verdict == "drifted" and "brightness" in drifted(found)
    (brightness,) = (change for change in found.changes if change.name == "brightness")
    assert brightness.now == pytest.approx(0.7 * (brightness.before or 0), rel=0.05)
    assert brightness.p_value < 0.001


def test_a_class_that_is_gone_is_found_and_named(watched: Bundle) -> None:
    found = find_drift(watched, counted(watched, seen(np.random.default_rng(2), 300, gone=1)))
    assert {"answers", "class green"} <= drifted(found)


def test_20_draws_of_the_same_images_raise_no_alarm(watched: Bundle) -> None:
    random = np.random.default_rng(3)
    verdicts = [find_drift(watched, counted(watched, seen(random, 200))).verdict for _ in range(20)]
    assert verdicts.count("drifted") == 0 and verdicts.count("look") <= 1


def test_a_summary_of_another_bundle_or_of_no_image_is_refused(watched: Bundle) -> None:
    found = counted(watched, seen(np.random.default_rng(4), 50))
    with pytest.raises(DataError, match=r"not of .*watched"):
        find_drift(watched, replace(found, bundle="0" * 64))
    with pytest.raises(DataError, match="no image yet"):
        find_drift(watched, PredictionCounter(watched).summary())


@pytest.mark.parametrize("times", [10_000_000, 10**12])
def test_billions_of_images_are_compared_as_hundreds_are(watched: Bundle, times: int) -> None:
    many = [multiplied(counted(watched, seen(np.random.default_rng(seed), 300)), times) for seed in (7, 7)]
    dark = multiplied(counted(watched, seen(np.random.default_rng(8), 300, light=0.7)), times)
    assert find_drift(watched, many[0], many[1]).verdict == "fine"
    found = find_drift(watched, dark, many[0])
    assert "brightness" in drifted(found) and found.images == 300 * times
    with pytest.raises(ValueError, match="1,000,000,000,000,000"):
        multiplied(dark, 10**6)


def multiplied(found: Summary, times: int) -> Summary:
    return replace(
        found,
        images=found.images * times,
        unknown=found.unknown * times,
        answers={name: count * times for name, count in found.answers.items()},
        histograms={
            name: replace(each, counts=tuple(count * times for count in each.counts), total=each.total * times)
            for name, each in found.histograms.items()
        },
    )


def test_an_earlier_summary_can_take_the_place_of_validation(watched: Bundle) -> None:
    dark = [counted(watched, seen(np.random.default_rng(seed), 200, light=0.7)) for seed in (5, 6)]
    assert find_drift(watched, dark[0]).verdict == "drifted"
    assert find_drift(watched, dark[1], dark[0]).verdict == "fine"


def test_a_bundle_without_a_summary_says_which_command_makes_one(tmp_path: Path, make_bundle: Make) -> None:
    with pytest.raises(BundleError, match=r"edgeclf export RUN.*--operating-point"):
        PredictionCounter(Bundle.open(make_bundle(tmp_path / "old")))


def test_a_summary_goes_on_where_it_stopped_and_survives_a_disk_that_is_full(
    watched: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = counted(watched, seen(np.random.default_rng(7), 30))
    counter = PredictionCounter(watched, so_far=parse_summary(first.to_bytes(), "first"))
    reported: list[str] = []
    file = SummaryFile(counter, tmp_path / "week.json", reported.append)
    file.count(None, Prediction("gone.png", None, (), "No such file or directory"))
    assert file.write() and read_summary(tmp_path / "week.json") == counter.summary()
    with pytest.raises(UsageError, match="is a folder"):
        read_summary(tmp_path)
    assert (counter.summary().images, counter.summary().errors) == (30, 1)
    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert [file.write(), file.write()] == [False, False] and len(reported) == 1
    assert "No space left" in reported[0]


def full(*arguments: object, **more: object) -> None:
    raise OSError(28, "No space left on device")


def test_the_stability_index_is_0_for_equal_shares_and_grows_with_the_difference() -> None:
    same, half = np.array([100, 100]), np.array([200, 0])
    assert population_stability(same, 2 * same) == pytest.approx(0)
    # by hand: shares with half an image added: .5, .5 against 200.5/201, .5/201
    p, q = np.array([0.5, 0.5]), np.array([200.5, 0.5]) / 201
    assert population_stability(same, half) == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_damaged_and_newer_summaries_are_refused(tmp_path: Path) -> None:
    for content, reason in (
        (b"{", "not JSON"),
        (b"[]", "no summary"),
        (b'{"schema": 2, "answers": {}}', "schema 2"),
        (b'{"schema": 1, "answers": {"a": -1}}', "0 or more"),
    ):
        with pytest.raises(DataError, match=reason):
            parse_summary(content, "week.json")
