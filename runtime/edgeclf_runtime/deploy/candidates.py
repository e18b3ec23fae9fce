"""Bundles with more than one model of a classifier: each is timed against the others here, and the fastest is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Candidate, FileEntry, Manifest
from edgeclf_runtime.deploy.latency import median_call_ms, one_input
from edgeclf_runtime.session import open_session

FOLDER = "candidates"
ROUNDS, CALLS = 7, 20
_SAME, _LEAST_NOISE = "", 0.02

TimeCalls = Callable[[Sequence[Callable[[], object]]], Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Speed:
    """One image in milliseconds, and the median over rounds of its time over the baseline's in the same round."""

    median_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Race:
    """Models timed side by side. `noise`: how far a second session of the baseline itself was off (0.03: 3 %)."""

    speeds: dict[str, Speed]
    baseline: str
    noise: float

    def fastest(self) -> str:
        """The fastest that is faster than the baseline by more than the noise; else the baseline."""
        ahead = {name: speed.ratio for name, speed in self.speeds.items() if speed.ratio < 1 - self.noise}
        return min(ahead, key=lambda name: ahead[name], default=self.baseline)


def time_calls(calls: Sequence[Callable[[], object]]) -> list[tuple[float, ...]]:
    """Median milliseconds of each call, round by round: (rounds, calls). Within a round calls take turns."""
    return [median_call_ms(calls, CALLS) for _ in range(ROUNDS)]


def race(bundles: Mapping[str, Bundle], baseline: str, options: SessionOptions, time: TimeCalls = time_calls) -> Race:
    """Every bundle's engine on one image, in turns; the baseline twice, which gives the noise of no difference."""
    entries = [*bundles.items(), (_SAME, bundles[baseline])]
    with ExitStack() as opened:
        calls = [
            partial(
                opened.enter_context(open_session(bundle, options_for(bundle, options))), one_input(bundle.manifest)
            )
            for _, bundle in entries
        ]
        rounds = time(calls)
    names = [name for name, _ in entries]
    base = names.index(baseline)
    ratios = {
        name: statistics.median(taken[place] / taken[base] for taken in rounds) for place, name in enumerate(names)
    }
    speeds = {
        name: Speed(statistics.median(taken[place] for taken in rounds), ratios[name])
        for place, name in enumerate(names)
        if name != _SAME
    }
    return Race(speeds, baseline, max(_LEAST_NOISE, abs(ratios[_SAME] - 1)))


def options_for(bundle: Bundle, options: SessionOptions) -> SessionOptions:
    """Every candidate computes in what it was proven in."""
    return replace(options, compute_precision=None)


def candidate_files(manifest: Manifest, candidate: Candidate) -> dict[str, str]:
    """Where a candidate's files lie in the bundle, by the names that its engine expects."""
    start = f"{FOLDER}/{candidate.folder}/"
    return {path.removeprefix(start): path for path in manifest.files if path.startswith(start)}


def models_of(bundle: Bundle) -> dict[str, Bundle]:
    """The bundle's own model and its candidates by name, each as a bundle of its own."""
    manifest = bundle.manifest
    chosen = manifest.ladder.chosen if manifest.ladder else manifest.weights_precision
    return {chosen: bundle, **{each.name: as_bundle(bundle, each) for each in manifest.candidates}}


def as_bundle(bundle: Bundle, candidate: Candidate) -> Bundle:
    """A view of the bundle in which the candidate is the model; nothing is written."""
    return Bundle(bundle.path, _View(bundle, candidate))


def with_candidate(manifest: Manifest, candidate: Candidate, why: str = "") -> Manifest:
    """The manifest of a bundle whose model is the candidate; its files are for the writer to list.

    `why` it was chosen goes into the record of the ladder.
    """
    ladder = manifest.ladder
    if ladder is not None and why:
        ladder = ladder.chosen_again(candidate.name, why)
    return replace(
        manifest,
        weights_precision=candidate.weights_precision,
        compute_precision=candidate.compute_precision,
        tolerances=candidate.tolerances,
        temperature=candidate.temperature,
        temperature_fit=candidate.temperature_fit,
        thresholds=replace(manifest.thresholds, energy=candidate.energy or manifest.thresholds.energy),
        shares=candidate.shares,
        calibration=candidate.calibration,
        own=candidate.own,
        ladder=ladder,
        candidates=(),
        proof=None,
    )


def write_files(bundle: Bundle, candidate: Candidate, folder: Path) -> None:
    """The candidate's files under the engine's names, and everything else but models, into the new `folder`."""
    folder.mkdir()
    names = _view_names(bundle.manifest, candidate)
    for name, path in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bundle.read(path))


def _view_names(manifest: Manifest, candidate: Candidate) -> dict[str, str]:
    """Names in a bundle whose model is the candidate -> paths in this one: its own files, and the golden items."""
    golden = {path: path for path in manifest.files if path.startswith("golden/")}
    return golden | candidate_files(manifest, candidate)


class _View:
    """Files of a bundle under other names."""

    def __init__(self, bundle: Bundle, candidate: Candidate) -> None:
        manifest = bundle.manifest
        self._bundle = bundle
        self._paths = _view_names(manifest, candidate)
        self._files: dict[str, FileEntry] = {name: manifest.files[path] for name, path in self._paths.items()}
        self._manifest = replace(with_candidate(manifest, candidate), files=self._files).to_bytes()

    def sizes(self) -> dict[str, int]:
        return {"manifest.json": len(self._manifest), **{path: entry.bytes for path, entry in self._files.items()}}

    def read(self, path: str) -> bytes:
        return self._manifest if path == "manifest.json" else self._bundle.read(self._paths[path])
