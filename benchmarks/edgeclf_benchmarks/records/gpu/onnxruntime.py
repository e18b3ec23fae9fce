"""onnxruntime-gpu: whether its CUDA provider takes every node, proofs there, and its speed beside the CPU's.

python -m edgeclf_benchmarks.records.gpu.onnxruntime -o benchmarks/results/gpu/onnxruntime.json
"""

from __future__ import annotations

from functools import partial
from typing import Any

from edgeclf_benchmarks.records.gpu.checks import Checks, opened, parser_of
from edgeclf_benchmarks.records.gpu.exports import bench_rows, export_all, few_images, verified

_PRECISIONS = ("fp32", "fp16", "int8")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--precisions", default=",".join(_PRECISIONS))
    given = parser.parse_args()
    with opened(given, "onnxruntime") as checks:
        run_all(checks, given.precisions.split(","))


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
