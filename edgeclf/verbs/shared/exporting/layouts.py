"""`edgeclf export --layout triton|android|ovms|deepstream`: bundles as other software takes them, beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.console import say, suggest, write_json
from edgeclf.verbs.shared.options import shell_word
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.exporting.source_options import Layout
    from edgeclf_export.exporter import Exported
    from edgeclf_export.options import ExportOptions
    from edgeclf_runtime.bundle.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Writer:
    """How a layout is written.

    Attributes
    ----------
    check
        Raises UsageError, before any work, for a target, state and input form that it does not take.
    write
        (bundle, folder, largest batch, whether to replace) -> what was written.
    called, next
        What was written, in words, and what to type next with its folder for {}.
    """

    check: Callable[[str, str, str], object]
    write: Callable[[Bundle, Path, int, bool], Path]
    called: str
    next: str


def _writers() -> dict[str, Writer]:
    from edgeclf_export.targets import android, deepstream, ovms, triton

    return {
        "triton": Writer(
            check=lambda target, state, _: triton.check_served(target, state),
            write=lambda bundle, folder, largest, force: triton.write_model(bundle, folder, largest, force=force),
            called="a model of a Triton repository",
            next="tritonserver --model-repository={}    (on the server)",
        ),
        "android": Writer(
            check=lambda target, _, __: android.check_android(target),
            write=lambda bundle, folder, _, force: android.write_module(bundle, folder, force=force),
            called="assets and a test for an Android app, never run on a phone",
            next="cat {}/*/README.md",
        ),
        "ovms": Writer(
            check=lambda target, _, __: ovms.check_ovms(target),
            write=lambda bundle, folder, _, force: ovms.write_model(bundle, folder, force=force),
            called="a model for OpenVINO Model Server, never run there",
            next="ovms --config_path {}/config.json --rest_port 8000    (on the server)",
        ),
        "deepstream": Writer(
            check=lambda target, _, form: deepstream.check_deepstream(target, form),
            write=lambda bundle, folder, largest, force: deepstream.write_classifier(
                bundle, folder, largest, force=force
            ),
            called="a classifier for DeepStream's nvinfer, never run there",
            next="cat {}/*/config_infer.txt",
        ),
    }


def check_layout(layout: Layout, options: ExportOptions) -> None:
    """Raises UsageError, before any work, where a target has no such layout."""
    from edgeclf_export.targets.registry import TARGETS

    if layout == "bundle":
        return
    writer = _writers()[layout]
    for target in options.targets:
        on_device = TARGETS[target].on_device
        state = "portable" if on_device is not None and on_device.why_not_here() else "built"
        writer.check(target, state, options.form)


def lay_out(layout: Layout, made: Sequence[Exported], options: ExportOptions) -> list[Path]:
    """The bundles in this layout, in the folder of its name beside them."""
    from edgeclf_runtime.bundle.bundle import Bundle

    if layout == "bundle":
        return []
    writer, folder = _writers()[layout], options.output / layout
    built = [Bundle.open(b.path) for b in made if b.state == "built"]
    return [writer.write(bundle, folder, options.engine.max_batch, options.force) for bundle in built]


def lay_out_alone(
    source: str, layout: Layout, output: Path, max_batch: int | None, *, force: bool, as_json: bool
) -> None:
    """A bundle that is there already in this layout; nothing is exported."""
    from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
    from edgeclf_runtime.bundle.bundle import Bundle

    if layout == "bundle":
        *first, last = _writers()
        named = f"{', '.join(first)} or {last}"
        raise UsageError(f"{source} is a bundle already; give --target for another one, or --layout {named}")
    largest = max_batch or BuildSettings().max_batch
    made = _writers()[layout].write(Bundle.open(source), output / layout, largest, force)
    if as_json:
        write_json("export", {"bundles": [], **laid_out(layout, [made])})
    suggest_layout(layout, [made])


def laid_out(layout: Layout, models: Sequence[Path]) -> dict[str, list[str]]:
    """What was written, by layout, for JSON."""
    return {name: [str(model) for model in models] if name == layout else [] for name in _writers()}


def suggest_layout(layout: Layout, models: Sequence[Path]) -> None:
    """What was written, and what takes it."""
    writer = _writers()[layout]
    for model in models:
        say(f"wrote {model}, {writer.called}", style="dim")
    suggest(writer.next.format(shell_word(str(models[0].parent.resolve()))))
