"""`edgeclf doctor`: what this machine can run, and what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.console import Bars, grid, mark, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import AsJson
from edgeclf.wording import count
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.installing import pip_install

if TYPE_CHECKING:
    from edgeclf.doctor.doctor import BackendState, Diagnosis
    from edgeclf.sheet import Sheet
    from edgeclf_runtime.machine.jetson import PowerState

_COLOURS = {"usable": "green", "no device": "dim", "missing": "yellow", "too old": "red", "broken": "bold red"}


def doctor(as_json: AsJson = False) -> None:
    """Show which inference engines this machine can run, and what is missing.

    Lists the engines with their versions and devices, the pip command for each that is missing, and the instruction
    sets of the processor; on a Jetson also its power mode, clocks, power rails and temperatures. Nothing is installed.
    Exit code 4: no engine is usable.

    \b
    Examples:
      edgeclf doctor
      edgeclf doctor --json > machine.json
    """
    from edgeclf.doctor.doctor import diagnose

    if as_json:
        found = diagnose()
        write_json("doctor", {**_fields(found), "can_run": found.can_run})
    else:
        with Bars() as progress:
            progress.step("checking the engines …")
            found = diagnose()
        _show(found)
    if found.refusal is not None:
        raise BackendError(found.refusal)
    if not found.can_run:
        raise BackendError(f"no engine is usable here; install one with: {pip_install('onnx')}")
    suggest(_next_command(found))


def _next_command(found: Diagnosis) -> str:
    from edgeclf_export.targets.registry import TARGETS
    from edgeclf_runtime.session import is_reference

    usable = [state.name for state in found.backends if state.state == "usable"]
    targets = [name for name in TARGETS if name in usable and not is_reference(name)]
    if any(map(is_reference, usable)) and targets:
        return f"edgeclf export --model mobilenetv3_large_100 --target {targets[0]}"
    return "edgeclf predict BUNDLE IMAGE"


def _fields(found: Diagnosis) -> dict[str, object]:
    from edgeclf_runtime.bundle.dataclass_json import to_json

    fields: dict[str, object] = to_json(found)
    return fields


def _show(found: Diagnosis) -> None:
    show(
        styled(f"edgeclf {found.edgeclf}", "bold") + styled(f"  Python {found.python}, {found.system}", "not bold dim"),
        "",
        styled("engines", "cyan"),
        _engines(found.backends),
        *(styled(f"  {mark(False)} {conflict}", "bold red") for conflict in found.conflicts),
        "",
        styled("machine", "cyan"),
        _machine(found),
    )


def _engines(states: tuple[BackendState, ...]) -> Sheet:
    table = grid(title=2)
    for state in states:
        sign = "·" if state.state == "no device" else mark(state.state == "usable")
        version = (state.version or "") + (f" (needs {state.oldest})" if state.state == "too old" else "")
        remark = ", ".join(filter(None, [" ".join(state.devices), state.detail]))
        remark = "; ".join(filter(None, [remark, state.advice]))
        cells = (styled(f"{sign} {state.state}", _COLOURS[state.state]), styled(version), styled(remark))
        table.add_row("", state.name, *cells, style="dim" if state.state == "no device" else "")
    return table


def _machine(found: Diagnosis) -> Sheet:
    cores = count(found.cores, "core")
    if found.cpu_limit is not None and found.cpu_limit < found.cores:
        cores += f", but this container is held to {found.cpu_limit:g}: give --threads {max(1, int(found.cpu_limit))}"
    driver = f"driver {found.nvidia_driver}" if found.nvidia_driver else ""
    rows = [
        ("cpu", found.cpu),
        ("", " ".join(found.cpu_features)),
        *(("", meaning) for meaning in found.cpu_meaning),
        ("cores", cores),
        ("memory", "n/a" if found.memory_gib is None else f"{found.memory_gib:g} GiB"),
        ("gpu", ", ".join(filter(None, [*found.gpus, driver])) or "no NVIDIA GPU"),
        ("jetson", found.jetson or ""),
        *(_power_rows(found.power) if found.power is not None else ()),
        ("disk", f"{found.free_disk_gb:g} GB free here"),
        ("telemetry", "onnxruntime's is off" if found.telemetry_off else "onnxruntime's is ON"),
    ]
    table = grid(title=2)
    for name, value in rows:
        if value:
            table.add_row("", name, styled(value))
    return table


def _power_rows(found: PowerState) -> list[tuple[str, str]]:
    ranges = ", ".join(
        f"{clock.name} {clock.max_mhz:.0f}" if clock.locked else f"{clock.name} {clock.min_mhz:.0f}–{clock.max_mhz:.0f}"
        for clock in found.clocks
    )
    state = {True: "locked", False: "free (sudo jetson_clocks locks them for steady timings)", None: "n/a"}
    return [
        ("power mode", found.mode or "n/a (no /var/lib/nvpmodel/status; a container needs it mounted)"),
        ("clocks", state[found.clocks_locked]),
        ("", f"{ranges} MHz" if ranges else ""),
        ("rails", ", ".join(f"{name} {watts:.2f} W" for name, watts in found.rails.items()) or "n/a"),
        ("temperature", ", ".join(f"{name} {celsius:.1f} °C" for name, celsius in found.temperatures.items()) or "n/a"),
    ]
