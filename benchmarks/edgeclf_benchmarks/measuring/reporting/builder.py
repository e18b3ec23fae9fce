"""From what a bench measured to its report: figures, parity, comparisons, and warnings with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.machine_state import read_conditions
from edgeclf_benchmarks.measuring.plain_loop import PlainLoop
from edgeclf_benchmarks.measuring.predictions import LabelledImages, in_order_of, selected_on
from edgeclf_benchmarks.measuring.report import Data, Image, Report, Settings
from edgeclf_benchmarks.measuring.report_rows import Predictions, Row
from edgeclf_benchmarks.measuring.reporting.label_predictions import (
    evaluate_part,
    label_images,
    label_predictions,
    parity_of_labels,
)
from edgeclf_benchmarks.measuring.reporting.robustness_rows import Evaluated, robustness_of_rows
from edgeclf_benchmarks.measuring.reporting.speed_comparisons import comparisons, same_against_same
from edgeclf_benchmarks.measuring.reporting.warnings import cautions_of
from edgeclf_benchmarks.measuring.scenarios import RULES, Scenario, sum_up
from edgeclf_benchmarks.measuring.state import BenchState, Part
from edgeclf_benchmarks.measuring.thresholds import Decided, decided
from edgeclf_benchmarks.measuring.thumbnails import most_telling, thumbnails_of
from edgeclf_benchmarks.measuring.timing import Latency, summarise
from edgeclf_benchmarks.measuring.yardstick import Yardstick
from edgeclf_benchmarks.measuring.yardstick_network import VERSION
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.label_parity import LabelPredictions
from edgeclf_runtime.bundle.parity import Parity, RowPredictions, parity_of
from edgeclf_runtime.images.labelled import all_labels
from edgeclf_runtime.machine.facts import machine_facts, machine_id, now_utc, package_version
from edgeclf_runtime.metrics.curves import Curves, curves_of, hardest_of
from edgeclf_runtime.metrics.energy import energies_of
from edgeclf_runtime.metrics.metrics import evaluate, to_scores
from edgeclf_runtime.metrics.robustness import Robustness


def report_of(state: BenchState, command: str) -> Report:
    """The report of a bench, whole or interrupted."""
    evaluated = {} if state.data is None else _evaluate(state, state.data)
    robust = robustness_of_rows(state, evaluated)
    rows = tuple(_row(state, part, evaluated, robust.get(part.name)) for part in state.parts)
    same = tuple(same_against_same(state))
    facts, after = machine_facts(), read_conditions()
    return Report(
        created_utc=now_utc(),
        complete=state.stopped is None,
        command=command,
        edgeclf=package_version("edgeclf") or "",
        seconds=state.elapsed_s(),
        machine=facts,
        machine_id=machine_id(facts),
        before=state.before,
        after=after,
        cautions=tuple(cautions_of(state, rows, after)),
        settings=_settings(state),
        reference=state.reference.name,
        data=None if state.data is None else _data(state, state.data, evaluated),
        rows=rows,
        same_against_same=same,
        comparisons=tuple(comparisons(state, same)),
        yardsticks=tuple(_yardsticks(state)),
        rounds_busy_cores=tuple(state.records[0].busy_cores) if state.records else (),
        reference_chosen=state.reference_chosen,
    )


def _settings(state: BenchState) -> Settings:
    options = state.options
    return Settings(
        profile=options.profile,
        rounds=state.records[0].rounds if state.records else 0,
        pairs=state.records[0].pairs if state.records else 0,
        fresh_rounds=state.profile.fresh_rounds,
        batch_sizes=options.batch_sizes,
        threads=options.thread_counts,
        device=options.session.device,
        hint=options.session.hint,
        compute_precision=options.session.compute_precision,
        seed=options.seed,
    )


def _data(state: BenchState, data: LabelledImages, evaluated: dict[str, Evaluated]) -> Data:
    return Data(
        name=data.name,
        digest=data.digest,
        split=data.split,
        classes=data.classes,
        images=label_images(state)
        if state.multi_label
        else tuple(
            Image(image.name, number, image.group)
            for image, number in zip(state.images, state.labels.tolist(), strict=True)
        ),
        unreadable=state.unreadable,
        selected_on=any(image.split == "val" for image in data.images)
        and any(selected_on(part.bundle.manifest, data.digest) for part in state.parts),
        thumbnails=_thumbnails(state, evaluated) if state.options.thumbnails else {},
        origin=data.origin,
        of_images=len(data.data.images),
        classes_present=len(set(all_labels(data.images))) if data.present else None,
    )


def _thumbnails(state: BenchState, evaluated: dict[str, Evaluated]) -> dict[str, str]:
    reference = evaluated.get(state.reference.name)
    if reference is None:
        return {}
    others = [_right(state, each) for name, each in evaluated.items() if name != state.reference.name]
    return thumbnails_of(state.images, most_telling(_right(state, reference), others))


def _right(state: BenchState, found: Evaluated) -> NDArray[np.intp]:
    """(N,) how many predictions for each image are right: one, or one a label."""
    if isinstance(found, LabelPredictions):
        return np.asarray((found.predicted == state.targets).sum(axis=1))
    return np.asarray(found.numbers == state.labels, dtype=np.intp)


def _evaluate(state: BenchState, data: LabelledImages) -> dict[str, Evaluated]:
    """The evaluated predictions of every row that has made them, in the data's order of classes."""
    evaluated: dict[str, Evaluated] = {}
    if state.multi_label:
        outputs_of = ((part, part.outputs) for part in state.parts)
        return {part.name: evaluate_part(state, part, each, data) for part, each in outputs_of if each is not None}
    labels = state.labels
    groups = [image.group for image in state.images]
    for part in state.parts:
        if part.outputs is None:
            continue
        manifest = part.bundle.manifest
        outputs = in_order_of(data.classes, part.outputs, manifest)
        figures = evaluate(
            outputs,
            labels,
            data.classes,
            scores=manifest.scores,
            temperature=manifest.temperature,
            groups=groups,
            seed=state.options.seed,
            auc_interval=False,
        )
        evaluated[part.name] = RowPredictions(
            to_scores(outputs, manifest.scores, manifest.temperature), figures, outputs
        )
    return evaluated


def _row(state: BenchState, part: Part, evaluated: dict[str, Evaluated], robustness: Robustness | None) -> Row:
    manifest, own = part.bundle.manifest, evaluated.get(part.name)
    files = manifest.files
    labels = state.targets if state.multi_label else state.labels
    height, width = manifest.pixels.crop_px if manifest.pixels is not None else (0, 0)
    known = state.data is not None and manifest.provenance.data_sha256 == state.data.digest
    latencies = tuple(_latencies(state, part))
    return Row(
        name=part.name,
        kind="plain-loop" if isinstance(part.contender, PlainLoop) else "bundle",
        digest=part.bundle.digest,
        target=manifest.target,
        backbone=manifest.provenance.backbone,
        weights=manifest.provenance.weights,
        weights_precision=manifest.weights_precision,
        compute_precision=part.compute_precision,
        scores=manifest.scores,
        multi_label=manifest.multi_label,
        engine=part.engine,
        labels=manifest.labels,
        input_px=(height, width),
        bundle_bytes=sum(entry.bytes for entry in files.values()),
        model_bytes=sum(entry.bytes for path, entry in files.items() if not path.startswith(("golden/", MANIFEST))),
        training_seconds=manifest.provenance.training_seconds,
        teacher=manifest.provenance.teacher,
        training_images=len(state.data.data.of("train")) if known and state.data is not None else None,
        calibration=manifest.calibration,
        proof=part.proof,
        cold_start=part.cold_start,
        peak_memory_mib=part.peak_mib,
        latencies=latencies,
        scenarios=(*_single_stream(part, latencies), *part.scenarios),
        power=part.power,
        test_look=part.test_use,
        answers=None if own is None else _predictions(own),
        decided=None if state.multi_label else _decided(state, part, state.labels),
        evaluation=None if own is None else own.evaluation,
        curves=() if own is None else _curves(own, labels, evaluated),
        parity=_parity(state, part, evaluated),
        robustness=robustness,
    )


def _curves(own: Evaluated, labels: NDArray[Any], evaluated: dict[str, Evaluated]) -> tuple[Curves, ...]:
    """Curves of the same classes for all rows, so that they can be compared."""
    areas = {name: [each.auc for each in found.evaluation.per_class] for name, found in evaluated.items()}
    hardest = hardest_of(list(areas.values()))
    mine = [each.auc for each in own.evaluation.per_class]
    mine = [area if number in hardest else None for number, area in enumerate(mine)]
    return curves_of(own.scores, labels, own.evaluation.classes, mine)


def _decided(state: BenchState, part: Part, labels: NDArray[np.intp]) -> Decided | None:
    """In the model's own order of classes, which is that of its thresholds; the plain loop has none."""
    manifest = part.bundle.manifest
    if part.is_plain or part.outputs is None or state.data is None:
        return None
    places = {label: number for number, label in enumerate(manifest.labels)}
    own = np.array([places[state.data.classes[number]] for number in labels], dtype=np.intp)
    energies = None if manifest.scores == "margin" else energies_of(part.outputs, manifest.scores)
    scores = to_scores(part.outputs, manifest.scores, manifest.temperature)
    thresholds = replace(manifest.thresholds, features=None)  # nothing but logits is measured here
    return decided(scores, own, thresholds, energies)


def _predictions(evaluated: Evaluated) -> Predictions:
    if isinstance(evaluated, LabelPredictions):
        return label_predictions(evaluated)
    numbers = evaluated.numbers
    confidence = evaluated.scores.max(axis=1)
    return Predictions(tuple(int(each) for each in numbers), tuple(round(float(each), 6) for each in confidence))


def _parity(state: BenchState, part: Part, evaluated: dict[str, Evaluated]) -> Parity | None:
    own, reference = evaluated.get(part.name), evaluated.get(state.reference.name)
    if part is state.reference:
        return None
    if isinstance(own, LabelPredictions) and isinstance(reference, LabelPredictions):
        return parity_of_labels(state, own, reference)
    if not isinstance(own, RowPredictions) or not isinstance(reference, RowPredictions):
        return None
    return parity_of(
        own,
        reference,
        state.labels,
        name=state.reference.name,
        digest=state.reference.bundle.digest,
        groups=[image.group for image in state.images],
        margin_points=state.options.margin_points,
        seed=state.options.seed,
    )


def _latencies(state: BenchState, part: Part) -> Iterator[Latency]:
    for record in state.records:
        for (name, stage), taken in record.taken.items():
            if name == part.name and any(taken.rounds_ms):
                yield summarise(
                    stage,
                    record.batch,
                    record.threads,
                    taken.rounds_ms,
                    taken.started_s,
                    taken.warmed,
                    seed=state.options.seed,
                )


def _yardsticks(state: BenchState) -> Iterator[Yardstick]:
    """What the rounds at which rows are compared took of each."""
    if not state.records:
        return
    record = state.records[0]
    for each in state.yardsticks:
        taken = record.taken.get((each.name, "infer"))
        if taken is None or not any(taken.rounds_ms):
            continue
        figures = summarise(
            "infer", 1, record.threads, taken.rounds_ms, taken.started_s, taken.warmed, seed=state.options.seed
        )
        yield Yardstick(each.target, each.engine, VERSION, figures)


def _single_stream(part: Part, latencies: Sequence[Latency]) -> Iterator[Scenario]:
    """The rounds' own calls as LoadGen's single stream, unless that was run by its rules."""
    if any(each.name == "single-stream" for each in part.scenarios):
        return
    for found in latencies:
        if found.stage == "infer" and found.batch == 1:
            samples = [sample for taken in found.rounds_ms for sample in taken]
            yield sum_up(RULES["single-stream"], 1, found.threads, samples, sum(samples) / 1000)
