"""What `edgeclf train --fraction` asks for and shows: a learning curve in place of one run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.console import grid, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import need, need_one_process, shell_word
from edgeclf_runtime.errors import EdgeclfError, UsageError

if TYPE_CHECKING:
    from edgeclf.training.learning_curve.curve import LearningCurve, Plan
    from edgeclf_benchmarks.comparing.page.html_tables import Table
    from edgeclf_runtime.images.data_split import DataSplit


def plan_of(options: dict[str, Any], fraction: str, judge_on: str) -> Plan:
    """Raises UsageError for what can't be meant, BackendError where the baseline's packages are missing."""
    from edgeclf.data.fractions import parse_fractions
    from edgeclf.training.learning_curve.curve import BASELINE, plan_curve

    approaches = [word.strip() for word in str(options["strategy"]).split(",")]
    if BASELINE in approaches:
        need("baseline", "skimage", "sklearn")
    return plan_curve(options, approaches, parse_fractions(fraction), judge_on)


def run_curve(plan: Plan | None, data: DataSplit | None, folder: Path, *, as_json: bool) -> None:
    """Measures a new curve, or with None what is missing of the one in `folder`; writes and shows it."""
    from edgeclf.training.learning_curve.curve import is_curve, resume_curve, start_curve
    from edgeclf.verbs.shared.training_progress import watcher_in

    need_one_process("a learning curve")
    with ExitStack() as stack:
        watcher = watcher_in(stack)
        try:
            if plan is None or data is None:
                curve = resume_curve(folder, watcher)
            else:
                curve = start_curve(plan, data, folder, watcher)
        except (KeyboardInterrupt, EdgeclfError) as error:
            if is_curve(folder) and not isinstance(error, UsageError):
                say(f"finished points are kept; go on with: edgeclf train --resume {shell_word(str(folder))}")
            raise
    _publish(curve, folder)
    _show(curve, folder, as_json=as_json)


def _publish(curve: LearningCurve, folder: Path) -> None:
    from edgeclf.training.learning_curve.curve import PAGE, PICTURE
    from edgeclf.training.learning_curve.page import learning_page
    from edgeclf.training.learning_curve.plot import draw_learning_curve
    from edgeclf_runtime.bundle.atomic_write import writing

    with writing(folder / PICTURE, force=True) as draft:
        draw_learning_curve(curve, draft)
    with writing(folder / PAGE, force=True) as draft:
        draft.write_text(learning_page(curve, (folder / PICTURE).read_bytes()), encoding="utf-8")


def _show(curve: LearningCurve, folder: Path, *, as_json: bool) -> None:
    from edgeclf.training.learning_curve.tables import needs_table, points_table

    judged = {"val": "validation", "test": "test"}[curve.judged_on]
    selected = " (the best epochs were selected on these images)" if curve.selected_here else ""
    if as_json:
        write_json("train", {"folder": str(folder), "curve": curve})
    else:
        show(
            styled(f"{folder}: judged on {curve.judged_images:,} {judged} images{selected}", "bold"),
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
