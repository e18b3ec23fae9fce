"""Whether two threads that make the first inference of a process at once come back: an engine alone, and edgeclf's.

    python -m edgeclf_benchmarks.records.first_inference alone:200:BUNDLE imported:500:BUNDLE session:500:BUNDLE -o FILE

Each trial is a process of its own: two threads, a barrier, one inference each. One that takes longer than --timeout
counts as hung and is killed. `alone` takes the engine's own package, `imported` does the same with OpenVINO after
edgeclf's import of it, `session` takes a session of the bundle.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ov import import_openvino
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.machine.facts import package_version
from edgeclf_runtime.session import BACKENDS, open_session

Infer = Callable[[], Any]
_MODULE = "edgeclf_benchmarks.records.first_inference"


def two_at_once(infers: tuple[Infer, Infer]) -> None:
    """Each in a thread of its own, as close to the same time as a barrier brings them."""
    barrier = threading.Barrier(2)

    def infer(call: Infer) -> None:
        barrier.wait()
        call()

    threads = [threading.Thread(target=infer, args=(call,)) for call in infers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def openvino_alone(bundle: Bundle) -> tuple[Infer, Infer]:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO takes its stub instead
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(bundle.read("model.xml"), bundle.read("model.bin")), "CPU")
    batch = _batch(bundle)
    first, second = (compiled.create_infer_request() for _ in range(2))
    return (
        lambda: first.infer({0: batch}, share_inputs=True)[0],
        lambda: second.infer({0: batch}, share_inputs=True)[0],
    )


def openvino_imported(bundle: Bundle) -> tuple[Infer, Infer]:
    import_openvino()
    return openvino_alone(bundle)


def onnxruntime_alone(bundle: Bundle) -> tuple[Infer, Infer]:
    import onnxruntime

    session = onnxruntime.InferenceSession(bundle.read("model.onnx"), providers=["CPUExecutionProvider"])
    batch, name = _batch(bundle), session.get_inputs()[0].name
    return lambda: session.run(None, {name: batch}), lambda: session.run(None, {name: batch})


def torch_alone(bundle: Bundle) -> tuple[Infer, Infer]:
    """A small network on the bundle's input; the bundle's own is opened by `edgeclf`."""
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten()).eval()
    array = np.ascontiguousarray(_batch(bundle).transpose(0, 3, 1, 2), dtype=np.float32)

    def infer() -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(array)).numpy()

    return infer, infer


def edgeclf_session(bundle: Bundle) -> tuple[Infer, Infer]:
    session, batch = open_session(bundle, SessionOptions(threads=2)), _batch(bundle)
    return lambda: session(batch), lambda: session(batch)


ALONE = {"openvino": openvino_alone, "onnx": onnxruntime_alone, "pytorch": torch_alone}
WAYS = {
    "alone": lambda bundle: ALONE[bundle.manifest.target](bundle),
    "imported": openvino_imported,
    "session": edgeclf_session,
}


def _batch(bundle: Bundle) -> Any:
    shape = [1 if isinstance(size, str) else size for size in bundle.manifest.inputs[0].shape]
    return np.zeros(shape, dtype=bundle.manifest.inputs[0].dtype)


@dataclass(frozen=True, slots=True)
class Series:
    """So many trials of one way with one bundle."""

    way: str
    trials: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Series:
        """From WAY:TRIALS:BUNDLE."""
        way, trials, path = text.split(":", 2)
        if way not in WAYS:
            raise ValueError(f"no way {way!r}; choose one of {', '.join(WAYS)}")
        return cls(way, int(trials), path)


def hangs(series: Series, timeout_s: float) -> bool:
    """Whether one process had to be killed. Raises CalledProcessError where it fails otherwise."""
    command = [sys.executable, "-m", _MODULE, f"{series.way}:1:{series.path}", "--here"]
    try:
        subprocess.run(command, check=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return True
    return False


def measure(series: Series, timeout_s: float, at_a_time: int) -> dict[str, Any]:
    """How many of a series' trials hung."""
    bundle = Bundle.open(series.path)
    module = BACKENDS[bundle.manifest.target].module
    with ThreadPoolExecutor(at_a_time) as pool:
        hung = sum(pool.map(lambda _: hangs(series, timeout_s), range(series.trials)))
    figures = {
        "engine": module,
        "version": package_version(module),
        "bundle": bundle.name,
        "way": series.way,
        "trials": series.trials,
        "hung": hung,
        "timeout_s": timeout_s,
    }
    print(figures, file=sys.stderr)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="+", type=Series.parse, metavar="WAY:TRIALS:BUNDLE")
    parser.add_argument("--timeout", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--at-a-time", type=int, default=2, metavar="N", help="processes")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.here:
        (series,) = given.series
        two_at_once(WAYS[series.way](Bundle.open(series.path)))
        return
    figures = []
    for series in given.series:
        figures.append(measure(series, given.timeout, given.at_a_time))
        if given.output is not None:  # after each, for all of them take long
            write_record(given.output, _MODULE, figures)


if __name__ == "__main__":
    main()
