"""TensorRT, or TensorRT-RTX, on a GPU: builds and proofs of four networks, then threads, batches, speed and memory.

python -m edgeclf_benchmarks.records.gpu.tensorrt -o benchmarks/results/gpu/tensorrt.json
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.gpu.checks import Checks, Refused, opened, parser_of
from edgeclf_benchmarks.records.gpu.exports import (
    BATCHES,
    NETWORKS,
    bench_rows,
    export_all,
    few_images,
    pixels,
    proof_facts,
    verified,
)
from edgeclf_benchmarks.records.record import spread
from edgeclf_runtime.backends.tensorrt import backend as tensorrt_backend
from edgeclf_runtime.backends.tensorrt.cuda import Cuda, open_cuda
from edgeclf_runtime.session import open_session

_PRECISIONS = ("fp32", "fp16", "bf16", "int8")
_CALLS = 10_000
_ROUND_S, _ROUNDS = 0.5, 5


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--precisions", default=",".join(_PRECISIONS))
    given = parser.parse_args()
    with opened(given, "tensorrt") as checks:
        run_all(checks, given.precisions.split(","))


def run_all(checks: Checks, precisions: list[str]) -> None:
    checks.run("the GPU", lambda: str(open_cuda().require_gpu()))
    few_images(checks)
    bundles = export_all(checks, "tensorrt", tuple(precisions), "--max-batch", str(max(BATCHES)))
    built = {name: path for name, path in bundles.items() if "-sm" in name}
    for name in [name for name in bundles if name not in built] if not built else []:
        checks.run(f"build {name}", partial(build_again, checks, bundles[name]))
    for name, path in built.items():
        checks.run(f"verify {name}", partial(verified, checks, path))
        checks.run(f"layers of {name}", partial(layers, path))
    chosen = [path for name, path in built.items() if name.startswith(("lite0", "mobilenetv3"))][:4]
    for path in chosen[:2]:
        checks.run(f"batches 1 to 33, {path.name}", partial(all_batches, path))
        checks.run(f"8 threads, {path.name}", partial(many_threads, path))
        checks.run(f"predict a folder, {path.name}", partial(predict_folder, checks, path))
        checks.run(f"slots and graphs, {path.name}", partial(slots_and_graphs, path))
        checks.run(f"memory, {path.name}", partial(memory, path))
        checks.run(f"stale engine.json, {path.name}", partial(stale, checks, path))
    for network in NETWORKS:
        rows = [path for name, path in built.items() if name.startswith(network)]
        if rows:
            checks.run(f"bench {network}", partial(bench_rows, checks, rows))
    for name, path in bundles.items():
        if name not in built and name.startswith("resnet50") and name.endswith("fp32"):
            checks.run("build --tf32", partial(build_again, checks, path, "--tf32", "-o", "bundles/tf32"))


def build_again(checks: Checks, path: Path, *options: str) -> dict[str, Any]:
    found = checks.edgeclf("build", str(path), "--force", *options)
    return {key: found[key] for key in found if key not in ("proof", "audit")} | proof_facts(found.get("proof"))


def layers(path: Path) -> Any:
    """What the inspector saw: engine.json's audit, its long lists cut."""
    info = json.loads((path / "engine.json").read_text(encoding="utf-8"))
    audit = info["audit"]
    short = {key: value if len(str(value)) < 1000 else f"{str(value)[:1000]} …" for key, value in audit.items()}
    return {"build_seconds": info["build_seconds"], "warnings": info["warnings"], **short}


def all_batches(path: Path) -> dict[str, Any]:
    """Each batch size gives what one image at a time gives, also beyond the engine's largest batch."""
    images = pixels(33)
    with open_session(path) as session:
        alone = np.concatenate([session(images[row : row + 1]) for row in range(len(images))])
        largest, bits = 0.0, 0
        for size in (*range(1, 34), 64, 65, 130):
            batch = np.concatenate([images] * 4)[:size]
            wanted = np.concatenate([alone] * 4)[:size]
            found = session(batch)
            largest = max(largest, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
            bits += int(np.array_equal(found, wanted))
    return {"largest_relative_difference": largest, "sizes_bit_identical": bits}


def many_threads(path: Path) -> dict[str, Any]:
    """Eight threads with batches of their own in one session: each gets its own answers each time."""
    with open_session(path) as session:
        batches = {number: pixels(1 + 4 * number, seed=number) for number in range(8)}
        wanted = {number: session(batch) for number, batch in batches.items()}
        wrong: list[int] = []
        errors: list[str] = []

        def call(number: int) -> None:
            try:
                for _ in range(60):
                    if not np.allclose(session(batches[number]), wanted[number], rtol=1e-3, atol=1e-3):
                        wrong.append(number)
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
    if wrong or errors:
        raise Refused(f"{len(wrong)} wrong answers; errors: {errors[:2]}")
    return {"calls": 480, "images_per_s": round(sum(60 * len(batch) for batch in batches.values()) / seconds)}


def predict_folder(checks: Checks, path: Path) -> dict[str, Any]:
    start = time.perf_counter()
    found = checks.edgeclf("predict", str(path), "photo-patches", "--batch-size", "32")
    counted = {name: found[name] for name in ("images", "errors", "finished")}
    return {**counted, "seconds": round(time.perf_counter() - start, 1)}


class _OneByOne(Cuda):
    """Records nothing, so that each run is launched layer by layer."""

    def begin_capture(self, stream: int) -> None:
        return

    def end_capture(self, stream: int) -> int | None:
        return None


def slots_and_graphs(path: Path) -> dict[str, Any]:
    """Milliseconds a batch of the session, without CUDA graphs, and of a stream of batches in one slot and in two."""
    found: dict[str, Any] = {}
    with open_session(path) as session:
        engine: Any = session._engine
        cuda, slots = engine._cuda, tensorrt_backend.SLOTS
        plain = _OneByOne(cuda._library)
        for size in BATCHES:
            batch = pixels(size)
            for name, used in (("graphs", cuda), ("no graphs", plain)):
                while engine._slots:
                    engine._slots.pop().close()
                engine._cuda = used
                found[f"batch {size}, {name}"] = _ms(partial(session, batch))
            engine._cuda = cuda
            for count in (1, 2):
                while engine._slots:
                    engine._slots.pop().close()
                tensorrt_backend.SLOTS = count
                found[f"batch {size}, stream of 16, slots {count}"] = _ms(partial(_stream, engine, batch), 16)
            tensorrt_backend.SLOTS = slots
    return found


def _stream(engine: Any, batch: Any) -> None:
    for _ in engine.infer_stream([batch] * 16):
        pass


def _ms(call: Any, parts: int = 1) -> dict[str, Any]:
    for _ in range(5):
        call()
    taken = []
    for _ in range(_ROUNDS):
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < _ROUND_S / 2:
            call()
            calls += 1
        taken.append((time.perf_counter() - start) / calls / parts * 1e3)
    return spread(taken)


def memory(path: Path) -> dict[str, Any]:
    """Free memory of the GPU and memory of the process before and after 10,000 predictions of changing batch sizes."""
    cuda = open_cuda()
    with open_session(path) as session:
        batches = [pixels(size) for size in (1, 2, 3, 5, 8, 13, 16)]  # more sizes than a slot keeps
        for batch in batches * 20:
            session(batch)
        before = (cuda.memory_mib()[0], _resident_mib())
        for number in range(_CALLS):
            session(batches[number % len(batches)])
        after = (cuda.memory_mib()[0], _resident_mib())
    closed = cuda.memory_mib()[0]
    return {
        "gpu_free_mib": {"before": before[0], "after": after[0], "closed": closed},
        "process_mib": {"before": before[1], "after": after[1]},
    }


def _resident_mib() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def stale(checks: Checks, path: Path) -> dict[str, Any]:
    """An engine whose engine.json names another GPU is refused, with the line that builds it again."""
    place = checks.folder / f"stale-{path.name}"
    shutil.copytree(path, place)
    info = json.loads((place / "engine.json").read_text(encoding="utf-8"))
    info["place"]["compute_capability"] = "8.7"
    (place / "engine.json").write_text(json.dumps(info), encoding="utf-8")
    try:
        checks.edgeclf("verify", str(place))
    except Refused as refused:
        return {"refused": str(refused)}
    raise Refused("the stale engine was taken")


if __name__ == "__main__":
    main()
