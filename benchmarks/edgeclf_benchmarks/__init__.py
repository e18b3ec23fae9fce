"""Measure: latency, parity, robustness, and reports of them. Above the runtime, beside the export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf_runtime.lazy import offer

__version__: str

if TYPE_CHECKING:
    from edgeclf_benchmarks.benching import Benched as Benched
    from edgeclf_benchmarks.benching import bench as bench
    from edgeclf_benchmarks.comparing.compare import Compared as Compared
    from edgeclf_benchmarks.comparing.comparison import compare as compare
    from edgeclf_benchmarks.comparing.recommend import Choice as Choice
    from edgeclf_benchmarks.comparing.recommend import Limits as Limits
    from edgeclf_benchmarks.comparing.recommend import recommend as recommend
    from edgeclf_benchmarks.measuring.options import BenchOptions as BenchOptions
    from edgeclf_benchmarks.measuring.predictions import LabelledImages as LabelledImages
    from edgeclf_benchmarks.measuring.report import Report as Report
    from edgeclf_benchmarks.measuring.report import read_report as read_report
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "BenchOptions": "edgeclf_benchmarks.measuring.options",
            "Benched": "edgeclf_benchmarks.benching",
            "Choice": "edgeclf_benchmarks.comparing.recommend",
            "Compared": "edgeclf_benchmarks.comparing.compare",
            "LabelledImages": "edgeclf_benchmarks.measuring.predictions",
            "Limits": "edgeclf_benchmarks.comparing.recommend",
            "Report": "edgeclf_benchmarks.measuring.report",
            "bench": "edgeclf_benchmarks.benching",
            "compare": "edgeclf_benchmarks.comparing.comparison",
            "read_report": "edgeclf_benchmarks.measuring.report",
            "recommend": "edgeclf_benchmarks.comparing.recommend",
        },
    )
