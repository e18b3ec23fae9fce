"""A process that opens one bundle, predicts one golden image and prints the time of each step; run by `cold_start`.

    python -m edgeclf_benchmarks.measuring.cold_start_child '{"bundle": PATH, "target": …, "started_ns": …}'

Nothing but the standard library is imported before the clock is read for the first time.
"""

from __future__ import annotations

import time

FIRST_LINE_NS = time.monotonic_ns()  # the same clock in every process of a machine

import json  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402


def predict_once(request: dict[str, Any]) -> dict[str, float | None]:
    """Milliseconds of each step, and the peak of this process's memory in MiB; None: not reported by the system."""
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.embedder import Embedder
    from edgeclf_runtime.session import BACKENDS

    BACKENDS[request["target"]].import_library()
    imported = time.monotonic_ns()
    options = SessionOptions(
        device=request["device"], threads=request["threads"], compute_precision=request["compute_precision"]
    )
    bundle = Bundle.open(request["bundle"])
    classifies = bundle.manifest.task == "classify"
    with Classifier.open(bundle, options) if classifies else Embedder.open(bundle, options) as opened:
        loaded = time.monotonic_ns()
        image = bundle.read(bundle.manifest.golden.images[0].image)
        (_,) = opened.predict(image) if isinstance(opened, Classifier) else opened.embed_images(image)
        predicted = time.monotonic_ns()
    return {
        "process_ms": (FIRST_LINE_NS - request["started_ns"]) / 1e6,
        "import_ms": (imported - FIRST_LINE_NS) / 1e6,
        "load_ms": (loaded - imported) / 1e6,
        "first_answer_ms": (predicted - loaded) / 1e6,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float | None:
    """The largest resident set since this program was started, as Linux reports it; None elsewhere.

    getrusage would count the parent's before that.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


if __name__ == "__main__":
    print(json.dumps(predict_once(json.loads(sys.argv[1]))))
