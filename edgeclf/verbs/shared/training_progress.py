"""The progress of a training in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from edgeclf.console import progress, say

if TYPE_CHECKING:
    from edgeclf.training.watcher import Watcher


def _epoch_line(record: dict[str, Any]) -> str:
    return (
        f"{record['phase']:>8} {record['epoch']:3d}  lr {record['lr']:.1e}  loss {record['train_loss']:.3f}  "
        f"validation: loss {record['val_loss']:.3f}  top-1 {record['val_top1']:.3f}  "
        f"macro-F1 {record['val_macro_f1']:.3f}  {record['seconds']:.1f} s"
    )


def watcher_in(stack: ExitStack, line: Callable[[dict[str, Any]], str] = _epoch_line) -> Watcher:
    """Bars on a terminal, one line an epoch everywhere."""
    from edgeclf.training.watcher import Watcher

    bars = stack.enter_context(progress())
    task = bars.add_task("", total=None, visible=False)

    class Bars(Watcher):
        def note(self, text: str) -> None:
            say(text)

        def warn(self, text: str) -> None:
            say(f"warning: {text}", style="yellow")

        def start(self, what: str, total: int) -> None:
            bars.reset(task, total=total, description=what, visible=True)

        def advance(self) -> None:
            bars.advance(task)

        def epoch(self, record: dict[str, Any]) -> None:
            bars.update(task, visible=False)
            say(line(record))

    return Bars()
