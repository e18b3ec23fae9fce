"""`bench`: from the paths of bundles to one report with its gates, written to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeclf_benchmarks.comparing.own_gates import read_gates
from edgeclf_benchmarks.measuring.bench import measure
from edgeclf_benchmarks.measuring.energy import board_meter
from edgeclf_benchmarks.measuring.options import BenchOptions
from edgeclf_benchmarks.measuring.predictions import LabelledImages
from edgeclf_benchmarks.measuring.report import Report, write_report
from edgeclf_benchmarks.measuring.reporting.builder import report_of
from edgeclf_benchmarks.measuring.state import line_up
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy import build
from edgeclf_runtime.errors import DataError, EdgeclfError, UsageError
from edgeclf_runtime.progress import SILENT, Progress

ImagesFor = Callable[[Sequence[Bundle]], LabelledImages]  # labelled images once the bundles are known
FOLDER = Path("benches")


@dataclass(frozen=True, slots=True)
class Benched:
    """The result of a bench.

    Attributes
    ----------
    report
        What was measured, with the verdict of each gate; a gate that failed is not raised.
    written
        The file that holds the report.
    without_gate
        Rows that no gate applies to, each with the reason; empty where there are no gates.
    """

    report: Report
    written: Path
    without_gate: tuple[str, ...] = ()


def bench(
    bundles: str | Path | Bundle | Sequence[str | Path | Bundle],
    options: BenchOptions = BenchOptions(),
    *,
    data: LabelledImages | ImagesFor | None = None,
    reference: str | Path | Bundle | None = None,
    baseline: str | Path | None = None,
    fail_if: Sequence[str] = (),
    output: str | Path | None = None,
    force: bool = False,
    rebuild_if_stale: bool = False,
    command: str = "edgeclf_benchmarks.bench",
    progress: Progress = SILENT,
    warn: Callable[[str], None] = lambda sentence: None,
    kept: Callable[[Benched], None] = lambda benched: None,
) -> Benched:
    """Bundles measured side by side on this machine, as `edgeclf bench` does it.

    Parameters
    ----------
    bundles
        Folders, or what `edgeclf pack` made. Folders of proofs beside bundles are skipped.
    data
        Labelled images, such as `edgeclf.BenchImages("photos/")`; None: latency alone.
    reference
        What parity and speed refer to; None: a pytorch bundle, or else the first.
    baseline, fail_if
        An older report, and gates such as "p50_ms>12" or "NAME: top1_drop>0.5".
    output
        The report's file; None: the first of benches/1.json, benches/2.json, … that is free.
    rebuild_if_stale
        Whether a TensorRT engine that no longer fits this machine is rebuilt first; `warn` gets a sentence about it.
    command
        What the report names as the command that made it.
    progress
        Gets the current step, and about how many seconds are left.
    kept
        Called with the report as soon as it is written, before anything else is raised.

    Raises
    ------
    UsageError, DataError
        Options, bundles, images or gates that don't fit together, before anything is measured. DataError for a gate
        that no row has a figure for, when the report is written.
    GateError
        The reference fails its proof on this machine.
    KeyboardInterrupt
        Ctrl-C; the report so far is written, marked as incomplete.
    """
    gates = read_gates(fail_if, None if baseline is None else Path(baseline))
    place = Path(output) if output is not None else free_place(FOLDER)
    if place.exists() and not force:
        raise UsageError(f"{place} exists; give --force to replace it, or another --output")

    def opened(path: str | Path | Bundle) -> Bundle:
        bundle = Bundle.open(path)
        return build.rebuild_if_stale(bundle, options.first, progress) if rebuild_if_stale else bundle

    several = (bundles,) if isinstance(bundles, (str, Path, Bundle)) else bundles
    lined_up = [opened(path) for path in several if isinstance(path, Bundle) or not _is_sidecar(Path(path))]
    first = None if reference is None else opened(reference)
    parts, referred = line_up(lined_up, first, options)
    labelled = data([*lined_up, *([] if first is None else [first])]) if callable(data) else data
    gates.check([part.name for part in parts], labelled, referred.name)
    state = measure(lined_up, replace(options, meter=board_meter()), reference=first, data=labelled, progress=progress)
    report, refusal = report_of(state, command), None
    try:
        report = gates.with_verdicts(report, place.name) if report.complete else report
    except DataError as error:  # the report is written first
        refusal = error
    place = _write(report, place, force=force, elsewhere=output is None)
    benched = Benched(report, place, tuple(gates.left_out(report)) if gates.rules else ())
    kept(benched)
    if state.stopped is not None:
        raise state.stopped
    if refusal is not None:
        raise refusal
    return benched


def _write(report: Report, place: Path, *, force: bool, elsewhere: bool) -> Path:
    """Where the report was written; `elsewhere`: at the next free place, if another took `place` meanwhile."""
    try:
        write_report(report, place, force=force)
    except EdgeclfError:
        if not elsewhere or not place.exists():
            raise
        return _write(report, free_place(place.parent), force=force, elsewhere=True)
    return place


def free_place(folder: Path) -> Path:
    """The first of folder/1.json, folder/2.json, … that is free."""
    number = 1
    while (place := folder / f"{number}.json").exists():
        number += 1
    return place


def _is_sidecar(place: Path) -> bool:
    """Whether it is the folder beside a bundle where proofs are kept: bundles/* names those, too."""
    return place.suffix == ".proofs" and place.is_dir() and not (place / "manifest.json").exists()
