"""onnxruntime-gpu: whether its CUDA provider takes every node, proofs there, and its speed beside the CPU's.

python -m edgeclf_benchmarks.records.gpu.onnxruntime -o benchmarks/results/gpu/onnxruntime.json
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.gpu.checks import Checks
from edgeclf_benchmarks.records.gpu.exports import bench_rows, export_all, few_images, verified

_PRECISIONS = ("fp32", "fp16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3000, help="what has not begun by then is left out")
    parser.add_argument("--precisions", default=",".join(_PRECISIONS))
    parser.add_argument("--only", default="", metavar="REGEX", help="checks of such names")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        module = "edgeclf_benchmarks.records.gpu.onnxruntime"
        run_all(
            Checks(given.output.resolve(), module, Path(place), given.seconds, given.only), given.precisions.split(",")
        )


def run_all(checks: Checks, precisions: list[str]) -> None:
    checks.run("providers", providers)
    few_images(checks)
    bundles = export_all(checks, "onnx", tuple(precisions))
    on = ("--device", "cuda")
    proofs = {f"verify {name} on cuda": partial(verified, checks, path, *on) for name, path in bundles.items()}
    checks.together(proofs, at_once=4)
    fp32 = [path for name, path in bundles.items() if name.endswith("fp32")]
    checks.run("bench fp32 on cuda", partial(bench_rows, checks, fp32, *on))
    checks.run(
        "verify on the TensorRT provider",
        partial(verified, checks, next(iter(bundles.values())), "--device", "tensorrt"),
    )


def providers() -> dict[str, Any]:
    import onnxruntime

    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


if __name__ == "__main__":
    main()
