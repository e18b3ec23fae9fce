"""Bundles measured side by side on this machine: proof, predictions, cold start, latency in rounds, throughput."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

from edgeclf_benchmarks.measuring.cold_start import measure_cold_start
from edgeclf_benchmarks.measuring.contenders import BundleContender, Contender
from edgeclf_benchmarks.measuring.corrupted_images import CorruptedImages, predict_corrupted
from edgeclf_benchmarks.measuring.corruptions import at_each_level
from edgeclf_benchmarks.measuring.energy import Watch
from edgeclf_benchmarks.measuring.machine_state import read_conditions
from edgeclf_benchmarks.measuring.options import PROFILES, BenchOptions
from edgeclf_benchmarks.measuring.predictions import LabelledImages, check_classes, predict, readable
from edgeclf_benchmarks.measuring.rounds import Plan, Record, measure_rounds
from edgeclf_benchmarks.measuring.scenarios import RULES, run_scenario
from edgeclf_benchmarks.measuring.state import BenchState, Part, line_up
from edgeclf_benchmarks.measuring.timing import Stage
from edgeclf_benchmarks.measuring.yardstick import usable_yardsticks
from edgeclf_runtime.backends.engine import is_of_nvidia
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import GateError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.predict import prepare_images, strictly
from edgeclf_runtime.progress import SILENT, Progress

STAGES: tuple[Stage, ...] = ("infer", "end_to_end", "preprocess")
_TIMED_FILES = 16
_ROUGHLY_S = 0.02  # seconds per corrupted image and row, until the first have been timed
_ENGINE_INFO = ("engine", "engine_version", "device", "threads")


def measure(
    bundles: Sequence[Bundle],
    options: BenchOptions = BenchOptions(),
    *,
    reference: Bundle | None = None,
    data: LabelledImages | None = None,
    progress: Progress = SILENT,
) -> BenchState:
    """All measurements, or those made until Ctrl-C (`stopped` is set then).

    Parameters
    ----------
    reference
        What parity and speed refer to; None: the first pytorch bundle, or else the first bundle.
    data
        Labelled images; None: latency alone is measured, on the reference's golden images.
    progress
        Gets the current step and about how many seconds are left.

    Raises
    ------
    UsageError, DataError
        A bundle that takes no images or is of another task than the others; other classes than the data's.
    GateError
        The reference fails its proof on this machine.
    """
    parts, first = line_up(bundles, reference, options)
    if data is not None and first.bundle.manifest.task != "classify":
        raise UsageError(f"{first.name} is an encoder and has no classes to evaluate; bench it without --data")
    if data is None and options.corruptions:
        raise UsageError("corrupted images (--corruptions) are made from labelled ones; give --data, too")
    if data is not None:
        for part in parts:
            check_classes(part.bundle, data)
    started = time.perf_counter()
    state = BenchState(options, parts, first, data, read_conditions(), started, reference_chosen=reference is not None)
    if data is not None:
        state.robustness_s = _ROUGHLY_S * len(parts) * _corrupted_count(options, len(data.images))
    try:
        _prove(state, progress)
        if data is not None:
            _predict_all(state, data, progress)
            _measure_robustness(state, data, progress)
        _start_cold(state, progress)
        _time(state, progress)
        _load(state, progress)
    except KeyboardInterrupt as stop:
        state.stopped = stop
    return state


def _prove(state: BenchState, progress: Progress) -> None:
    """Each bundle against its golden images, on this machine; the proof is kept beside it."""
    for part in state.parts:
        if part.is_plain:
            opened = part.contender.open(state.options.first)
            part.engine = opened.engine
            opened.close()
            continue
        progress.step(f"proof of {part.name}", seconds_left=state.left_s())
        begun = time.perf_counter()
        part.proof = verify(part.bundle, state.options.first)
        part.opening_s = time.perf_counter() - begun
        part.compute_precision = part.proof.compute_precision
        part.engine = {key: part.proof.machine[key] for key in _ENGINE_INFO if key in part.proof.machine}
        save_proof(part.bundle, part.proof)
    proof = state.reference.proof
    if proof is not None and proof.verdict == "fail":
        raise GateError(
            f"{state.reference.name}, the reference, fails its proof on this machine ({'; '.join(proof.reasons)}); "
            "give another --reference"
        )


def _predict_all(state: BenchState, data: LabelledImages, progress: Progress) -> None:
    """Every row's outputs for every readable image; a use of the test split is recorded before it is read."""
    begun = time.perf_counter()
    rest_s = state.left_s()
    total = len(data.images) * (len(state.parts) + 1)

    def counted(what: str, before: int) -> Callable[[int], None]:
        def done(count: int) -> None:
            share = (before + count) / total
            left = (time.perf_counter() - begun) * (1 - share) / share
            later_s = state.robustness_s + state.after_predictions_s
            progress.step(f"{what}: {count} of {len(data.images)} images", seconds_left=max(left + later_s, rest_s))

        return done

    images, state.unreadable = readable(data.images, counted("reading", 0))
    for number, part in enumerate(state.parts):
        if data.record_use is not None and not part.is_plain:
            part.test_use = data.record_use(part.bundle)
            for earlier in state.parts[:number]:  # one use for all: a later count may include more earlier uses
                earlier.test_use = None if earlier.is_plain else part.test_use
        done = counted(f"predictions of {part.name}", len(data.images) * (number + 1))
        part.outputs = predict(part.contender, images, state.options.first, done)
        state.images = images


def _corrupted_count(options: BenchOptions, readable: int) -> int:
    """How many corrupted images are made from so many readable ones."""
    most = options.corrupted_images or PROFILES[options.profile].corrupted_images
    return min(most, readable) * len(at_each_level(options.corruptions))


def _measure_robustness(state: BenchState, data: LabelledImages, progress: Progress) -> None:
    """Each bundle's predictions for corrupted images; not the plain loop's, which would be its bundle's."""
    options = state.options
    corruptions = at_each_level(options.corruptions)
    if not corruptions:
        return
    begun = time.perf_counter()
    count = _corrupted_count(options, len(state.images)) // len(corruptions)
    places = sorted(random.Random(options.seed).sample(range(len(state.images)), count))
    state.corrupted = CorruptedImages(corruptions, state.multi_label)

    def on_done(done: int) -> None:
        spent = time.perf_counter() - begun
        state.robustness_s = spent * count / done
        left = max(state.left_s(), state.robustness_s - spent + state.after_predictions_s)
        progress.step(f"corruptions: {done} of {count} images in {len(corruptions)} variants", seconds_left=left)

    progress.step(f"corruptions: {count} images in {len(corruptions)} variants", seconds_left=state.left_s())
    bundles = [part.contender for part in state.parts if isinstance(part.contender, BundleContender)]
    predict_corrupted(bundles, state.images, places, data.classes, options.first, state.corrupted, on_done)


def _start_cold(state: BenchState, progress: Progress) -> None:
    for part in state.parts:
        if part.timed and not part.is_plain:
            progress.step(f"cold start of {part.name}", seconds_left=state.left_s())
            found = measure_cold_start(part.bundle, state.options.first, state.profile.cold_starts)
            part.cold_start, part.peak_mib = found


def _time(state: BenchState, progress: Progress) -> None:
    """Rounds for each number of threads and batch size: all stages and yardsticks at the first, then infer alone."""
    options, profile = state.options, state.profile
    sweep = [(batch, threads) for threads in options.thread_counts for batch in options.batch_sizes]
    contenders: list[Contender] = [part.contender for part in state.parts if part.timed]
    reference = state.reference.contender
    if isinstance(reference, BundleContender):
        contenders.append(reference.again())
        state.reference_again = reference.again().name
    targets = [part.bundle.manifest.target for part in state.parts if part.timed]
    state.yardsticks, state.without_yardstick = usable_yardsticks(targets, options.first)
    seconds = max(profile.fewest_rounds_s, state.left_s() - state.scenarios_s)
    files = _files(state)
    for number, (batch, threads) in enumerate(sweep):
        stages = STAGES if not number else STAGES[:1]
        share = seconds / len(sweep)
        plan = Plan(state.rounds, profile.fresh_rounds, share, profile.warm_up_s / (number + 1), options.seed + number)
        record = Record(batch, threads)
        state.records.append(record)
        rest = share * (len(sweep) - number - 1) + state.scenarios_s
        measure_rounds(
            [each for each in contenders if each.largest_batch is None or batch <= each.largest_batch],
            files,
            stages,
            replace(options.session, threads=threads),
            plan,
            record,
            origin=state.started,
            progress=progress,
            later_s=rest,
            yardsticks=() if number else state.yardsticks,
        )


def _load(state: BenchState, progress: Progress) -> None:
    """Throughput of each bundle; under the profile mlperf all of LoadGen's scenarios by its rules."""
    ruled = state.options.profile == "mlperf"
    seconds = state.options.duration_s or state.profile.offline_s
    files, begun, total = _files(state), time.perf_counter(), state.scenarios_s
    for part in state.parts:
        if not part.timed or part.is_plain:
            continue
        for pattern in RULES.values():
            if not ruled and pattern.name != "offline":
                continue
            progress.step(
                f"{pattern.name} of {part.name}", seconds_left=max(seconds, total - (time.perf_counter() - begun))
            )
            watch = _watch(state, part) if pattern.name == "offline" else None
            found = run_scenario(
                part.contender,
                pattern,
                files,
                state.options.first,
                seconds=seconds,
                whole=ruled,
                around=watch or nullcontext(),
            )
            part.scenarios.append(found)
            if watch is not None and state.options.meter is not None:
                part.power = state.options.meter.power(watch, found.images, found.seconds)


def _watch(state: BenchState, part: Part) -> Watch | None:
    """None: power is not reported here, or not of the processor that this row runs on."""
    meter = state.options.meter
    if meter is None or (meter.gpu_only and not is_of_nvidia(part.engine.get("device", ""))):
        return None
    return meter.watch()


def _files(state: BenchState) -> list[bytes]:
    """Image files to time with, the same for all: some of the labelled ones, or else the reference's golden images."""
    if state.images:
        chosen = random.Random(state.options.seed).sample(state.images, min(_TIMED_FILES, len(state.images)))
        return [content for _, content in strictly(prepare_images(chosen, LabelledImage.read))]
    bundle = state.reference.bundle
    return [bundle.read(golden.image) for golden in bundle.manifest.golden.images]
