"""The steps of a search: what is too slow is left out, then ever fewer candidates are trained for ever longer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgeclf.data.fractions import nested_subsets
from edgeclf.training.config import TrainConfig
from edgeclf.training.kept_runs import kept_run
from edgeclf.training.run.run import Run
from edgeclf.training.search.accuracy import accuracy_of, behind
from edgeclf.training.search.latency import Latencies
from edgeclf.training.search.state import (
    FIRST_SHARE,
    SEARCH,
    Result,
    Score,
    Search,
    SearchPlan,
    load_search,
    new_search,
    write,
)
from edgeclf.wording import count
from edgeclf_benchmarks.measuring.machine_state import BUSY_SHARE
from edgeclf_runtime.errors import GateError, UsageError, one_line
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.progress import Progress

TimeAll = Callable[..., Latencies]


class Steps:
    """One search under way; each measurement is on disk before the next begins."""

    def __init__(self, plan: SearchPlan, data: DataSplit, folder: Path, progress: Progress, deadline: float) -> None:
        self.plan, self.data, self.folder, self.progress = plan, data, folder, progress
        self.search = load_search(folder) if (folder / SEARCH).is_file() else new_search(plan, data, {})
        self._deadline = deadline

    def _update(self, name: str, **changes: object) -> None:
        results = tuple(
            replace(each, **changes) if each.name == name else each  # type: ignore[arg-type]
            for each in self.search.candidates
        )
        self._write(replace(self.search, candidates=results))

    def _write(self, search: Search) -> None:
        self.search = search
        write(self.folder, search)

    def _result(self, name: str) -> Result:
        return next(each for each in self.search.candidates if each.name == name)

    def measure_latency(self, timing: TimeAll) -> None:
        """All at once, side by side, before anything is trained: what is too slow is never trained."""
        timed = [
            candidate
            for candidate, result in zip(self.plan.candidates, self.search.candidates, strict=True)
            if result.latency is None and result.left_out is None
        ]
        if not timed:
            return
        plan = self.plan
        found = timing(timed, plan.training, self.data, plan.target, plan.threads, self.folder, self.progress)
        results = tuple(
            replace(each, latency=found.timed[each.name], img_px=found.img_px.get(each.name))
            if each.name in found.timed
            else replace(each, left_out=each.left_out or found.refused.get(each.name))
            for each in self.search.candidates
        )
        self._write(replace(self.search, candidates=results, busy_share=found.busy_share))
        for name, reason in found.refused.items():
            self.progress.warn(f"{name} is left out: {reason}")
        if found.busy_share is not None and found.busy_share > BUSY_SHARE:
            self.progress.warn(
                f"other processes kept {found.busy_share:.0%} of the cores busy while latency was measured: on a quiet "
                "machine all would be faster"
            )

    def within_budget(self) -> list[str]:
        """Names of those that are fast enough, fastest first; the others are left out."""
        timed = sorted(
            (each for each in self.search.candidates if each.latency is not None), key=lambda each: each.milliseconds
        )
        most = self.plan.max_ms
        fast = [each.name for each in timed if most is None or each.milliseconds <= most]
        for each in timed:
            if each.name not in fast and each.left_out is None:
                self._update(each.name, left_out=f"{each.milliseconds:.2f} ms, above {most:g} ms")
                self.progress.note(f"{each.name} takes {each.milliseconds:.2f} ms, above {most:g} ms, and is left out")
        if not fast:
            raise GateError(
                f"no candidate takes {most:g} ms or less: the fastest, {timed[0].name}, takes "
                f"{timed[0].milliseconds:.2f} ms for one image of {timed[0].img_px} px with {self.plan.target} in "
                f"{count(self.plan.threads, 'thread')} here; raise --max-ms, lower --img-size, or name smaller --models"
            )
        return fast

    def probe(self, names: list[str]) -> list[str] | None:
        """The finalists, most accurate first, after a linear probe of each; None: time is over."""
        most = self.plan.finalists
        for number, subset in enumerate(subsets := self._rounds(len(names))):
            images = len(subset.of("train"))
            for place, name in enumerate(names):
                known = self._result(name)
                if len(known.probes) > number or (known.left_out is not None and len(known.probes) == number):
                    continue
                if self._time_is_over():
                    return None
                self.progress.note(f"linear probe {place + 1} of {len(names)}: {name} on {images:,} images")
                if (score := self._tried(name, "linear-probe", self.plan.probe_epochs, subset)) is not None:
                    self._update(name, probes=(*known.probes, score))
            probed = [name for name in names if len(self._result(name).probes) > number]
            order = sorted(
                probed, key=lambda name: -self._result(name).probes[number].accuracy
            )  # of equals, the faster
            kept = most if number == len(subsets) - 1 else max(most, math.ceil(len(names) / 2))
            for name in order[kept:]:
                self._update(name, left_out=f"not among the best {kept} after a probe on {images:,} images")
            names = order[:kept]
        return names

    def tune(self, finalists: Sequence[str]) -> bool:
        """Whether all of them could be fine-tuned in time."""
        for place, name in enumerate(finalists):
            if self._result(name).tuned is not None or self._result(name).left_out is not None:
                continue
            if self._time_is_over():
                return False
            epochs, heads = self.plan.tune_epochs, self.plan.training.first_epochs
            lengths = f"{count(heads, 'epoch')} of the head alone, then {epochs:,} of the whole network"
            self.progress.note(f"fine-tuning {place + 1} of {len(finalists)}: {name}, {lengths}")
            if (score := self._tried(name, "two-phase", epochs, self.data)) is not None:
                self._update(name, tuned=score)
        return True

    def compare(self) -> None:
        """How far each finalist is behind the best, on the same images."""
        finalists = self.search.finalists
        if not finalists:
            reasons = "; ".join(f"{each.name}: {each.left_out}" for each in self.search.candidates)
            raise GateError(f"no candidate could be trained: {reasons}")
        best = self._run(finalists[0].tuned)
        self._update(finalists[0].name, behind=0.0, behind_interval=None)
        for each in finalists[1:]:
            points, interval = behind(self._run(each.tuned), best, self.data)
            self._update(each.name, behind=points, behind_interval=interval)
        self._write(replace(self.search, complete=True, created_utc=now_utc()))

    def _rounds(self, candidates: int) -> tuple[DataSplit, ...]:
        """The images of each round of probes: many candidates first have a part of the training images."""
        if candidates > 2 * self.plan.finalists:
            try:
                return nested_subsets(self.data, (FIRST_SHARE, 1.0), self.plan.training.seed)
            except UsageError:  # a class of few images would have none
                return (self.data,)
        return (self.data,)

    def _tried(self, name: str, strategy: str, epochs: int, data: DataSplit) -> Score | None:
        """The score of a training; None: it is not possible for this backbone, or diverged, and the backbone is out."""
        try:
            return self._trained(name, strategy, epochs, data)
        except (GateError, UsageError) as error:
            self._update(name, left_out=f"{strategy} failed: {one_line(error)}")
            self.progress.warn(f"{name} is left out: {one_line(error)}")
            return None

    def _trained(self, name: str, strategy: str, epochs: int, data: DataSplit) -> Score:
        candidate = next(each for each in self.plan.candidates if each.name == name)
        config = replace(
            self.plan.training,
            model=candidate.model,
            weights=candidate.weights,
            strategy=strategy,  # type: ignore[arg-type]
            epochs=epochs,
        )
        images = len(data.of("train"))
        place = self.folder / "-".join((name, strategy, str(images)))
        return self._score(kept_run(config, data, place, self.progress), config, images)

    def _score(self, run: Run, config: TrainConfig, images: int) -> Score:
        accuracy, interval = accuracy_of(run, self.data)
        return Score(
            strategy=config.strategy,
            images=images,
            accuracy=accuracy,
            interval=interval,
            training_seconds=run.outcome().training_seconds,
            path=run.path.name,
        )

    def _run(self, score: Score | None) -> Run:
        assert score is not None  # of a finalist
        return Run(self.folder / score.path)

    def _time_is_over(self) -> bool:
        return time.monotonic() > self._deadline
