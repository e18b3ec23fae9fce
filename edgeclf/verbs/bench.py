"""`edgeclf bench`: bundles measured side by side on this machine, parity first, then latency, as one report."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from edgeclf.console import Bars, say, suggest, write_json
from edgeclf.verbs.shared import bench_options as given
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.gate_verdicts import check_gates, say_left_out
from edgeclf.verbs.shared.opening import say_loudly, session_options
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AsJson,
    ClassesToHave,
    ComputePrecision,
    Device,
    Force,
    RebuildIfStale,
    Split,
    Strict,
    shell_word,
)
from edgeclf_runtime.errors import GateError, UsageError

if TYPE_CHECKING:
    from edgeclf_benchmarks.benching import Benched
    from edgeclf_benchmarks.measuring.report import Report


def bench(
    bundles: given.Bundles,
    data: given.Data = None,
    split: Split = "test",
    classes: ClassesToHave = "all",
    images: given.Images = None,
    reference: given.ReferenceBundle = None,
    margin: given.Margin = 1.0,
    rounds: given.Rounds = None,
    quick: given.Quick = False,
    profile: given.ProfileName = "default",
    duration: given.Duration = None,
    batch_sizes: given.BatchSizes = "1",
    threads: given.ThreadCounts = None,
    device: Device = OWN_DEVICE,
    compute_precision: ComputePrecision = None,
    plain_loop: given.PlainLoop = True,
    thumbnails: given.Thumbnails = True,
    corruptions: given.Corruptions = None,
    corrupted_images: given.CorruptedImages = None,
    baseline: given.Baseline = None,
    fail_if: given.FailIf = None,
    strict: Strict = False,
    rebuild_if_stale: RebuildIfStale = False,
    strict_env: given.StrictEnv = False,
    seed: given.Seed = 0,
    output: given.ReportFile = None,
    force: Force = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure bundles side by side on this machine.

    Each bundle is verified first, and only those that pass are timed. With --data all bundles predict the same images:
    accuracy, and parity with the reference. Then latency in interleaved rounds (preprocessing, inference, end to end),
    cold start, memory and throughput. Two bundles count as different only where the difference is larger than what a
    bundle shows against itself. Image encoders are measured separately, without --data. Ctrl-C leaves a report that is
    marked as incomplete.

    \b
    Examples:
      edgeclf bench bundles/cats-onnx-fp32 bundles/cats-openvino-fp32 bundles/cats-pytorch-fp32 --data photos/
      edgeclf bench bundles/cats-onnx-fp32 --quick
      edgeclf bench bundles/cats-* --batch-sizes 1,8 --threads 1,2 -o report.json
      edgeclf bench bundles/cats-* --data photos/ --corruptions all
      edgeclf bench bundles/cats-int8 --baseline old.json --fail-if "p50_ratio>1.05"
    """
    from edgeclf.evaluation.bench_images import BenchImages
    from edgeclf_benchmarks import benching
    from edgeclf_benchmarks.measuring.corruptions import parse_corruptions
    from edgeclf_benchmarks.measuring.options import PROFILES, BenchOptions

    if strict and not fail_if:
        raise UsageError("--strict is for gates; give --fail-if, too")
    if quick and profile == "mlperf":
        raise UsageError(f"give either --quick or --profile {profile}, not both")
    named = "quick" if quick else profile
    most = given.most_images(images, PROFILES[named].images)
    if images is not None and data is None:
        raise UsageError("--images is for labelled images; give --data, too")
    options = BenchOptions(
        profile=named,
        rounds=rounds,
        batch_sizes=given.numbers(batch_sizes, "--batch-sizes"),
        threads=None if threads is None else given.numbers(threads, "--threads"),
        session=session_options(device, None, compute_precision),
        plain_loop=plain_loop,
        margin_points=margin,
        duration_s=duration,
        seed=seed,
        thumbnails=thumbnails,
        corruptions=() if corruptions is None else parse_corruptions(corruptions),
        corrupted_images=corrupted_images,
    )
    labelled = None
    if data is not None:
        labelled = BenchImages(data, split, most, present=classes == "present", seed=seed, progress=Bars())
    with Bars() as bars:
        benched = benching.bench(
            bundles,
            options,
            data=labelled,
            reference=reference,
            baseline=baseline,
            fail_if=fail_if or (),
            output=output,
            force=force,
            rebuild_if_stale=rebuild_if_stale,
            command=shlex.join(["edgeclf", *sys.argv[1:]]),
            progress=bars,
            warn=say_loudly,
            kept=lambda found: _show(bars, found, as_json=as_json),
        )
    _finish(benched.report, bundles, strict=strict, strict_env=strict_env)


def _show(bars: Bars, benched: Benched, *, as_json: bool) -> None:
    """The written report, also one that was interrupted or lacks what a gate needs."""
    from edgeclf.verbs.shared.bench_tables import show_report
    from edgeclf_benchmarks.measuring.report import report_document

    bars.close()
    report, place = benched.report, benched.written
    if as_json:
        write_json("bench", {"report": report_document(report), "written": str(place)})
    else:
        show_report(report)
        say_left_out(benched.without_gate)
    incomplete = "" if report.complete else " (incomplete: it was interrupted)"
    say(f"wrote {place}{incomplete}", style="dim" if report.complete else "bold yellow")


def _finish(report: Report, bundles: list[str], *, strict: bool, strict_env: bool) -> None:
    """What to type next. Raises GateError for a failed proof, a failed gate and, with --strict-env, a busy machine."""
    from edgeclf_benchmarks.measuring.machine_state import ENVIRONMENT

    if failed := [row for row in report.rows if row.proof is not None and row.proof.verdict == "fail"]:
        names = ", ".join(row.name for row in failed)
        raise GateError(f"not proven on this machine, so not timed: {names}; `edgeclf verify` shows why")
    if report.data is None and report.rows[0].labels:
        paths = " ".join(map(shell_word, bundles))
        suggest(f"edgeclf bench {paths} --data DIR   (accuracy and parity, too)")
    check_gates(report.gates, strict=strict)
    if strict_env and (doubts := [each for each in report.cautions if each.about in ENVIRONMENT]):
        raise GateError(f"{doubts[0].found}, and --strict-env wants a quiet machine; {doubts[0].advice}")
