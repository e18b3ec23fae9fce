"""`edgeclf export --layout triton`: bundles as models of a Triton repository beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.console import write_json
from edgeclf.verbs.shared.export_results import suggest_triton
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.source_options import Layout
    from edgeclf_export.exporter import Exported
    from edgeclf_export.options import ExportOptions


def check_layout(layout: Layout, options: ExportOptions) -> None:
    """Raises UsageError, before any work, where a target can't be served in this layout."""
    from edgeclf_export.targets.registry import TARGETS
    from edgeclf_export.targets.triton import check_served

    for target in options.targets if layout == "triton" else ():
        on_device = TARGETS[target].on_device
        check_served(target, "portable" if on_device is not None and on_device.why_not_here() else "built")


def lay_out(layout: Layout, made: Sequence[Exported], options: ExportOptions) -> list[Path]:
    """The bundles as models in the Triton repository beside them, with --layout triton."""
    from edgeclf_export.targets.triton import write_model
    from edgeclf_runtime.bundle.bundle import Bundle

    if layout != "triton":
        return []
    repository, largest = options.output / layout, options.engine.max_batch
    built = [Bundle.open(b.path) for b in made if b.state == "built"]
    return [write_model(bundle, repository, largest, force=options.force) for bundle in built]


def lay_out_alone(
    source: str, layout: Layout, output: Path, max_batch: int | None, *, force: bool, as_json: bool
) -> None:
    """A bundle that is there already as a model in a Triton repository; nothing is exported."""
    from edgeclf_export.targets.triton import write_model
    from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
    from edgeclf_runtime.bundle.bundle import Bundle

    if layout != "triton":
        raise UsageError(f"{source} is a bundle already; give --target for another one, or --layout triton")
    model = write_model(Bundle.open(source), output / layout, max_batch or BuildSettings().max_batch, force=force)
    if as_json:
        write_json("export", {"bundles": [], "triton": [str(model)]})
    suggest_triton([model])
