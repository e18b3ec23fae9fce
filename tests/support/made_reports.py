"""Bench reports made by hand: no engine runs, the figures are computed as bench computes them."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from edgeclf_benchmarks.measuring.machine_state import Caution, Conditions
from edgeclf_benchmarks.measuring.report import Data, Image, Report, Settings, write_report
from edgeclf_benchmarks.measuring.report_rows import Predictions, Row
from edgeclf_benchmarks.measuring.speed import Comparison, SameAgainstSame, ratio_of, speed_of
from edgeclf_benchmarks.measuring.timing import Latency, Stage, summarise
from edgeclf_benchmarks.measuring.yardstick import Yardstick
from edgeclf_runtime.bundle.parity import Parity, RowPredictions, parity_of
from edgeclf_runtime.metrics.curves import curves_of
from edgeclf_runtime.metrics.intervals import Interval, Resampling
from edgeclf_runtime.metrics.metrics import evaluate
from edgeclf_runtime.metrics.robustness import Numbers, Robustness, robustness_of

CLASSES = ("cat", "dog", "eel")
_ROUNDS, _PAIRS = 20, 10


@cache
def latency(stage: Stage, ms: float, *, seed: int, noise: float = 0.02, pairs: int = _PAIRS) -> Latency:
    """Calls of about `ms`: noisy rounds of noisy calls."""
    random = np.random.default_rng(seed)
    rounds = ms * np.exp(random.normal(0, noise / 2, (_ROUNDS, 1)) + random.normal(0, noise, (_ROUNDS, pairs)))
    started = [[1.0 * number + 0.01 * place for place in range(pairs)] for number in range(_ROUNDS)]
    return summarise(stage, 1, 2, rounds.tolist(), started, None)


def made_report(
    rows: dict[str, tuple[float, int]],
    *,
    images: int = 600,
    classes: tuple[str, ...] = CLASSES,
    cpu: str = "Quiet CPU",
    data: str | None = "photos",
    seed: int = 0,
    noise: float = 0.02,
    aa_noise: float = 1.02,
    pairs: int = _PAIRS,
    corrupted: bool = False,
    yardsticks: dict[str, float] | None = None,
    engine: str = "onnxruntime 1.20",
    busy: float | None = None,
) -> Report:
    """A report of rows: name -> (p50 in ms, how many of the images, from the first on, are predicted wrongly).

    `yardsticks`: target -> p50 in ms; None: a report from before there were any. `busy`: cores that other processes
    kept busy in each round; None: not known.
    """
    labels = np.arange(images) % len(classes)
    judged = {name: _judged(images, wrong, classes) for name, (_, wrong) in rows.items()}
    reference = next(iter(rows))
    made = []
    for place, (name, (ms, _)) in enumerate(rows.items()):
        timed = latency("infer", ms, seed=seed + place, noise=noise, pairs=pairs)
        found = judged[name]
        row = Row(
            name=name,
            kind="bundle",
            digest=f"{place:064x}",
            target="onnx",
            backbone="tiny",
            weights="none",
            weights_precision="fp32",
            compute_precision="fp32",
            scores="softmax",
            engine={"onnxruntime": "1.20"},
            labels=classes,
            input_px=(32, 32),
            bundle_bytes=(place + 1) * 5_000_000,
            training_seconds=60.0,
            training_images=1200,
            latencies=(
                timed,
                latency("preprocess", 1.0, seed=seed + 50),
                latency("end_to_end", ms + 1, seed=seed + 90),
            ),
        )
        if data is not None:
            row = replace(
                row,
                answers=Predictions(tuple(map(int, found.numbers)), (0.9,) * images),
                evaluation=found.evaluation,
                curves=curves_of(found.scores, labels, classes, [each.auc for each in found.evaluation.per_class]),
                parity=None
                if name == reference
                else _parity(images, rows[name][1], rows[reference][1], classes, reference),
            )
        if data is not None and corrupted:
            before = None if name == reference else rows[reference][1]
            row = replace(row, robustness=_robustness(images, rows[name][1], before, classes))
        made.append(row)
    flipped = max((wrong for _, wrong in rows.values()), default=0)
    report = _report(tuple(made), reference, _data(data, labels, classes, flipped), cpu, aa_noise)
    return replace(
        report,
        yardsticks=tuple(
            Yardstick(
                target, "numpy 2" if target == "numpy" else engine, 1, latency("infer", ms, seed=seed + 70 + place)
            )
            for place, (target, ms) in enumerate((yardsticks or {}).items())
        ),
        rounds_busy_cores=() if busy is None else (busy,) * _ROUNDS,
    )


@cache
def _judged(images: int, wrong: int, classes: tuple[str, ...]) -> RowPredictions:
    labels = np.arange(images) % len(classes)
    answers = labels.copy()
    answers[:wrong] = (answers[:wrong] + 1) % len(classes)
    noise = np.random.default_rng(wrong).normal(0, 0.4, (images, len(classes)))
    logits = (8 * np.eye(len(classes))[answers] + noise).astype(np.float32)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return RowPredictions(scores.astype(np.float64), evaluate(logits, labels, classes, auc_interval=False))


@cache
def _parity(images: int, wrong: int, wrong_before: int, classes: tuple[str, ...], reference: str) -> Parity:
    labels = np.arange(images) % len(classes)
    row, other = _judged(images, wrong, classes), _judged(images, wrong_before, classes)
    return parity_of(row, other, labels, name=reference, digest="0" * 64)


@cache
def _robustness(images: int, wrong: int, wrong_before: int | None, classes: tuple[str, ...]) -> Robustness:
    """Each corruption makes more predictions wrong than the one before, each level more than the one below."""
    names = ("noise", "blur", "jpeg", "brightness", "contrast", "pixelate")
    ways = [(name, level) for name in names for level in (1, 2, 3)]
    labels, order = np.arange(images) % len(classes), np.arange(images) % 100

    def predictions(wrong: int) -> Numbers:
        clean = _judged(images, wrong, classes).numbers
        corrupted = [np.where(order < 2 * place, (labels + 1) % len(classes), clean) for place in range(len(ways))]
        return Numbers(clean, np.array(corrupted))

    before = None if wrong_before is None else predictions(wrong_before)
    return robustness_of(ways, predictions(wrong), before, labels, Resampling(images), margin_points=1.0)


def _data(name: str | None, labels: NDArray[np.intp], classes: tuple[str, ...], flipped: int) -> Data | None:
    """The first ten of the images whose predictions change have a thumbnail."""
    if name is None:
        return None
    images = tuple(Image(f"folder/{place}.png", int(number)) for place, number in enumerate(labels))
    thumbnails = {image.path: _thumbnail(place) for place, image in enumerate(images[max(0, flipped - 10) : flipped])}
    return Data(name, f"{name:x>64}", "test", classes, images, thumbnails=thumbnails)


@cache
def _thumbnail(place: int) -> str:
    file = io.BytesIO()
    Picture.new("RGB", (64, 48), (20 * place, 90, 160)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


def _report(rows: tuple[Row, ...], reference: str, data: Data | None, cpu: str, aa_noise: float) -> Report:
    base = rows[0].latencies[0]
    comparisons = []
    for row in rows[1:]:
        found = ratio_of(row.latencies[0].rounds_ms, base.rounds_ms)
        assert found is not None
        verdict = speed_of(found.value, found.interval, len(found.by_round), aa_noise)
        figures = (found.value, found.interval, aa_noise, verdict, found.by_round)
        comparisons.append(Comparison(row.name, reference, "infer", 1, 2, *figures))
    now = Conditions("2026-01-02T03:04:05Z", 0.1, 0.0, 2, 2, governor="performance")
    same = SameAgainstSame(
        reference, "infer", 1, 2, 1.0, Interval(1 / aa_noise, aa_noise, "bootstrap"), aa_noise, (1.0,)
    )
    return Report(
        created_utc="2026-01-02T03:04:05Z",
        complete=True,
        command="edgeclf bench a b",
        edgeclf="0.1.0",
        seconds=60.0,
        machine={"cpu": cpu, "architecture": "x86_64", "cores": "2"},
        machine_id=f"{cpu:x>12}"[:12],
        before=now,
        after=now,
        cautions=(Caution("load", "other processes keep 0.5 of 2 cores busy", "stop them"),),
        settings=Settings("default", _ROUNDS, _PAIRS, 5, (1,), (2,), "cpu", "latency", None, 0),
        reference=reference,
        data=data,
        rows=rows,
        same_against_same=(same,),
        comparisons=tuple(comparisons),
    )


def saved(report: Report, path: Path) -> Path:
    """The path, once the report is there."""
    write_report(report, path)
    return path
