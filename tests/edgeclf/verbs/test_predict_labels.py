"""Several labels an image: whatever way a bundle is run, the predictions are the same."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgeclf.cli import run
from edgeclf.integrations.ray_data import ClassifyWithBundle
from edgeclf.serving.inference_protocol import model_metadata
from edgeclf.serving.limits import ServiceLimits
from edgeclf.serving.service import Service
from edgeclf.wording import json_ready
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.monitoring.collector import Collector

pytest.importorskip("prometheus_client")
Shown = pytest.CaptureFixture[str]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    places = [tmp_path / f"{number}.png" for number in range(8)]
    for place, image in zip(places, tiny.images(), strict=True):
        image.save(place)
    return places


@pytest.fixture
def bundle(photos: list[Path], tmp_path: Path) -> Bundle:
    """Each label is on some of the images, and one image has none."""
    one = tiny.build(tmp_path / "plain").manifest.pixels
    assert one is not None
    pixels = np.stack([one.load(place)[0] for place in photos])
    probabilities = np.sort(1 / (1 + np.exp(-tiny.reference_logits("reference", pixels).astype(np.float64))), axis=0)
    least = tuple(((probabilities[5] + probabilities[6]) / 2).tolist())
    return tiny.build(tmp_path / "several", scores="sigmoid", multi_label=True, thresholds=Thresholds(per_class=least))


async def _body(data: bytes) -> AsyncIterator[bytes]:
    yield data


def test_all_ways_to_predict_agree(bundle: Bundle, photos: list[Path], capsys: Shown) -> None:
    names = list(map(str, photos))
    with Classifier.open(bundle) as classifier:
        wanted = [each.labels for each in classifier.predict(photos)]
        service = Service(classifier, "several", ServiceLimits())
        served = [asyncio.run(service.predict(_body(place.read_bytes()), "image", 5)) for place in photos]
        about = model_metadata(bundle.manifest, "several")["parameters"]
        outputs = classifier.outputs(np.stack([bundle.manifest.pixels.load(each)[0] for each in photos]))  # type: ignore[union-attr]
    assert () in wanted and len(set(wanted)) > 2
    assert [each.labels for each in served] == wanted and json_ready(served[0])["labels"] == list(wanted[0] or ())
    least = np.array(about["label_thresholds"])  # what a client of the Open Inference Protocol does
    scores = 1 / (1 + np.exp(-outputs.astype(np.float64) / about["temperature"]))
    assert [{about["labels"][i] for i in np.flatnonzero(row >= least)} for row in scores] == [*map(set, wanted)]  # type: ignore[arg-type]
    assert about["multi_label"] and "unknown_below" not in about

    assert run(["predict", str(bundle.path), *names, "--json", "--top", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [tuple(each["labels"]) for each in document["predictions"]] == wanted
    assert {each["label"] for each in document["predictions"]} == {None}
    assert run(["predict", str(bundle.path), *names, "--csv", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [tuple(filter(None, row["answer"].split("|"))) for row in rows] == wanted
    assert run(["predict", str(bundle.path), *names, "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [", ".join(each or ()) or "no label" for each in wanted]
    table = ClassifyWithBundle(str(bundle.path))({"path": np.array(names)})
    assert list(map(tuple, table["predicted"])) == wanted
    assert list(table["label"]) == ["|".join(each or ()) for each in wanted]


def test_bars_name_all_labels_and_list_the_best_classes(bundle: Bundle, photos: list[Path], capsys: Shown) -> None:
    assert run(["predict", str(bundle.path), *map(str, photos), "--top", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("no label") >= 1 and shown.count("█") and len(shown.splitlines()) == 3 * len(photos)


def test_collected_images_keep_their_labels(bundle: Bundle, photos: list[Path], tmp_path: Path) -> None:
    with Classifier.open(bundle) as classifier:
        found = list(classifier.predict(photos))
    other = found[1:] + found[:1]
    collector = Collector(
        tmp_path / "kept", bundle, other=lambda source: other[photos.index(Path(str(source)))], report=print
    )
    for place, prediction in zip(photos, found, strict=True):
        collector.offer(prediction, place)
    kept = [json.loads(place.read_text()) for place in (tmp_path / "kept").glob("*.json")]
    assert kept and {each["why"] for each in kept} <= {"near a threshold", "bundles differ"}
    assert all(each["prediction"]["labels"] is not None and not each["prediction"]["unknown"] for each in kept)


def test_tasks_are_not_mixed(bundle: Bundle, photos: list[Path], tmp_path: Path, capsys: Shown) -> None:
    several, one = str(bundle.path), str(tmp_path / "plain")
    with_other = ("--collect", str(tmp_path / "kept"), "--collect-with")
    for code, message, *arguments in (
        (3, "several labels an image, the other one label", "predict", several, str(photos[0]), *with_other, one),
        (3, "several labels an image, the other one label", "predict", one, str(photos[0]), *with_other, several),
        (
            2,
            "--threshold is a probability from 0 to 1, found 1.5",
            "predict",
            several,
            str(photos[0]),
            "--threshold=1.5",
        ),
    ):
        assert run(arguments) == code, arguments
        shown = capsys.readouterr()
        assert message in shown.err and shown.out == "", shown.err
