"""What `edgeclf train --fraction` takes and shows: a learning curve in place of one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.console import Bars, grid, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import need, need_one_process, shell_word
from edgeclf_runtime.errors import EdgeclfError, UsageError
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    from edgeclf.training.choices import CurveSplit
    from edgeclf.training.learning_curve.curve import LearningCurve, Plan
    from edgeclf_benchmarks.page.html_tables import Table


def plan_of(options: dict[str, Any], fraction: str, evaluate_on: CurveSplit) -> Plan:
    """Raises UsageError for a curve that can't be measured, BackendError where the baseline's packages are missing."""
    from edgeclf.data.fractions import parse_fractions
    from edgeclf.training.learning_curve.curve import BASELINE, plan_curve

    approaches = [word.strip() for word in str(options["strategy"]).split(",")]
    if BASELINE in approaches:
        need("baseline", "skimage", "sklearn")
    return plan_curve(options, approaches, parse_fractions(fraction), evaluate_on)


def start_curve(data: str, plan: Plan, folder: Path, *, strict: bool, as_json: bool) -> None:
    """Measures a new curve and shows it."""
    from edgeclf.training.learning_curve.from_paths import learning_curve

    def measure(progress: Progress) -> LearningCurve:
        return learning_curve(
            data,
            plan.trainings,
            plan.fractions,
            baseline=plan.baseline,
            evaluated_on=plan.judged_on,
            folder=folder,
            strict=strict,
            progress=progress,
        )

    _watched(measure, folder, as_json=as_json)


def resume_curve(folder: Path, *, as_json: bool) -> None:
    """Measures what is missing of the curve in `folder` and shows it."""
    from edgeclf.training.learning_curve.from_paths import resume_learning_curve

    _watched(lambda progress: resume_learning_curve(folder, progress=progress), folder, as_json=as_json)


def _watched(work: Callable[[Progress], LearningCurve], folder: Path, *, as_json: bool) -> None:
    from edgeclf.training.learning_curve.curve import is_curve

    need_one_process("a learning curve")
    with Bars() as bars:
        try:
            curve = work(bars)
        except (KeyboardInterrupt, EdgeclfError) as error:
            if is_curve(folder) and not isinstance(error, UsageError):
                say(f"finished points are kept; go on with: edgeclf train --resume {shell_word(str(folder))}")
            raise
    _show(curve, folder, as_json=as_json)


def _show(curve: LearningCurve, folder: Path, *, as_json: bool) -> None:
    from edgeclf.training.learning_curve.tables import needs_table, points_table

    split = {"val": "validation", "test": "test"}[curve.judged_on]
    selected = " (the best epochs were selected on these images)" if curve.selected_here else ""
    if as_json:
        write_json("train", {"folder": str(folder), "curve": curve})
    else:
        show(
            styled(f"{folder}: evaluated on {curve.judged_images:,} {split} images{selected}", "bold"),
            "",
            _grid(points_table(curve)),
            "",
            _grid(needs_table(curve)),
        )
    say(f"wrote {folder}/: curve.html, curve.png, curve.json, and a folder for each point", style="dim")
    networks = [point for point in curve.points if point.path.startswith(f"{point.approach}-")]
    best = max(networks, key=lambda point: point.accuracy)
    suggest(f"edgeclf export {shell_word(str(folder / best.path))} --target onnx --target openvino")


def _grid(table: Table) -> Any:
    shown = grid(*table.headings)
    for row in table.rows:
        shown.add_row(styled(row[0], "cyan"), *map(styled, row[1:]))
    return shown
