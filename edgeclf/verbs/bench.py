"""`edgeclf bench`: bundles measured side by side on this machine, parity first, then latency, as one report."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import say, suggest, track, write_json
from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.gate_verdicts import check_gates, say_left_out
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AsJson,
    ClassesToHave,
    ComputePrecision,
    Device,
    Force,
    RebuildIfStale,
    Strict,
    open_bundle,
    session_options,
    shell_word,
    some_are_enough,
)
from edgeclf_runtime.errors import DataError, GateError, UsageError

if TYPE_CHECKING:
    from edgeclf_benchmarks.measuring.options import ProfileName
    from edgeclf_benchmarks.measuring.report import Report
    from edgeclf_benchmarks.measuring.state import Draft


def bench(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE…", help="Bundles: folders, or what pack made.", autocompletion=completion.bundles
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images: a folder of classes, a CSV, or what data split wrote. Without splits all of it is "
            "taken, unless a bundle was trained on it.",
            show_default="latency alone",
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="Of the data: test, val, train or all.")] = "test",
    classes: ClassesToHave = "all",
    images: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Draw N of the images.", show_default="1000; 200 with --quick"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="To compare the others with.", show_default="a pytorch one, or the first"),
    ] = None,
    margin: Annotated[
        float, typer.Option(metavar="POINTS", help="The loss of top-1 that is still as good as the reference.")
    ] = 1.0,
    rounds: Annotated[
        int | None, typer.Option(min=2, max=1000, metavar="N", help="Rounds.", show_default="20; 10 with --quick")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of all: under a minute for three bundles.")] = False,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="default, quick, or mlperf: LoadGen's scenarios, 30 minutes a bundle.")
    ] = "default",
    duration: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Of each scenario.", show_default="the profile's"),
    ] = None,
    batch_sizes: Annotated[
        str,
        typer.Option("--batch-sizes", "--batch-size", "-b", metavar="N,N…", help="Images a call; a sweep."),
    ] = "1",
    threads: Annotated[
        str | None,
        typer.Option(metavar="N,N…", help="Threads of one inference; several: a sweep.", show_default="all cores"),
    ] = None,
    device: Device = OWN_DEVICE,
    compute_precision: ComputePrecision = None,
    plain_loop: Annotated[
        bool,
        typer.Option("--plain-loop/--no-plain-loop", help="Beside a pytorch bundle: PIL, torchvision, eager torch."),
    ] = True,
    thumbnails: Annotated[
        bool,
        typer.Option("--thumbnails/--no-thumbnails", help="Keep small copies of images that are answered differently."),
    ] = True,
    corruptions: Annotated[
        str | None,
        typer.Option(
            metavar="LIST|all",
            help="Accuracy on spoilt images, too: noise, blur, jpeg, brightness, contrast, pixelate; 3 levels each.",
        ),
    ] = None,
    spoilt_images: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Images to spoil.", show_default="200; 50 with --quick"),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="REPORT", help="An older report, for top1_drop, p50_ratio and flips.")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE",
            help='Exit with 1 if so beyond noise, such as "p50_ms>12" or "NAME: p50_ms>12"; see compare.',
        ),
    ] = None,
    strict: Strict = False,
    rebuild_if_stale: RebuildIfStale = False,
    strict_env: Annotated[
        bool, typer.Option("--strict-env", help="Exit with 1 where the machine was busy, hot, on battery, …")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the draw, of the order, of the bootstrap.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The report.", show_default="benches/N.json")
    ] = None,
    force: Force = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure bundles side by side on this machine.

    Each is proven first, and only what answers rightly is timed. With --data every bundle answers the same images:
    accuracy, and parity with the reference. Then latency in interleaved rounds (preprocess, infer, end to end apart),
    cold start, memory, throughput. A difference is called one only where it is beyond what a bundle shows against
    itself. Image encoders are benched apart, without --data. Ctrl-C leaves a report that is marked incomplete.

    \b
    Examples:
      edgeclf bench bundles/cats-onnx-fp32 bundles/cats-openvino-fp32 bundles/cats-pytorch-fp32 --data photos/
      edgeclf bench bundles/cats-onnx-fp32 --quick
      edgeclf bench bundles/cats-* --batch-sizes 1,8 --threads 1,2 -o report.json
      edgeclf bench bundles/cats-* --data photos/ --corruptions all
      edgeclf bench bundles/cats-int8 --baseline old.json --fail-if "p50_ratio>1.05"
    """
    from edgeclf.verbs.shared.bench_progress import Teller
    from edgeclf.verbs.shared.bench_tables import free_place, labelled_images, show_report
    from edgeclf_benchmarks.comparing.own_gates import read_gates
    from edgeclf_benchmarks.measuring.bench import measure
    from edgeclf_benchmarks.measuring.corruptions import parse_corruptions
    from edgeclf_benchmarks.measuring.energy import board_meter
    from edgeclf_benchmarks.measuring.machine_state import ENVIRONMENT
    from edgeclf_benchmarks.measuring.options import PROFILES, BenchOptions
    from edgeclf_benchmarks.measuring.report import report_document, write_report
    from edgeclf_benchmarks.measuring.report_builder import report_of
    from edgeclf_benchmarks.measuring.state import line_up

    if strict and not fail_if:
        raise UsageError("--strict is for gates; give --fail-if, too")
    named = _profile(profile, quick=quick)
    present = some_are_enough(classes)
    options = BenchOptions(
        profile=named,
        rounds=rounds,
        batch_sizes=_numbers(batch_sizes, "--batch-sizes"),
        threads=None if threads is None else _numbers(threads, "--threads"),
        session=session_options(device, None, compute_precision),
        plain_loop=plain_loop,
        margin_points=margin,
        duration_s=duration,
        seed=seed,
        thumbnails=thumbnails,
        corruptions=() if corruptions is None else parse_corruptions(corruptions),
        spoilt_images=spoilt_images,
    )
    most = _most(images, PROFILES[named].images)
    if images is not None and data is None:
        raise UsageError("--images is for labelled images; give --data, too")
    gates = read_gates(fail_if or (), baseline)
    place = output or free_place(Path("benches"))
    if place.exists() and not force:
        raise UsageError(f"{place} exists; give --force to replace it, or another --output")
    opened = [
        open_bundle(path, options.first, rebuild_if_stale=rebuild_if_stale)
        for path in bundles
        if not _is_sidecar(path)  # bundles/* names those, too
    ]
    first = None if reference is None else open_bundle(reference, options.first, rebuild_if_stale=rebuild_if_stale)
    parts, referred = line_up(opened, first, options)
    labelled = None
    if data is not None:
        rest = [] if first is None else [first]
        labelled = labelled_images(
            data, split, bundles=[*opened, *rest], present=present, most=most, seed=seed, track=track
        )
    gates.check([part.name for part in parts], labelled, referred.name)
    options = replace(options, meter=board_meter())
    with Teller() as teller:
        draft = measure(opened, options, reference=first, data=labelled, tell=teller)
    report, refusal = report_of(draft, shlex.join(["edgeclf", *sys.argv[1:]])), None
    try:
        report = gates.judged(report, place.name) if report.complete else report
    except DataError as error:  # what was measured is kept first
        refusal = error
    write_report(report, place, force=force)
    if as_json:
        write_json("bench", {"report": report_document(report), "written": str(place)})
    else:
        show_report(report)
        say_left_out(gates.left_out(report))
    _finish(draft, report, place)
    if refusal is not None:
        raise refusal
    check_gates(report.gates, strict=strict)
    if strict_env and (spoilt := [each for each in report.cautions if each.about in ENVIRONMENT]):
        raise GateError(f"{spoilt[0].found}, and --strict-env asks for a quiet machine; {spoilt[0].advice}")


def _finish(draft: Draft, report: Report, place: Path) -> None:
    """The last lines; an interruption goes on from here, and a failed proof ends with 1."""
    incomplete = "" if report.complete else " (incomplete: it was interrupted)"
    say(f"wrote {place}{incomplete}", style="dim" if report.complete else "bold yellow")
    if draft.stopped is not None:
        raise draft.stopped
    if failed := [row for row in report.rows if row.proof is not None and row.proof.verdict == "fail"]:
        names = ", ".join(row.name for row in failed)
        raise GateError(f"not proven on this machine, so not timed: {names}; `edgeclf verify` says more")
    if report.data is None and draft.reference.bundle.manifest.task == "classify":
        paths = " ".join(shell_word(str(part.bundle.path)) for part in draft.parts if not part.is_plain)
        suggest(f"edgeclf bench {paths} --data DIR   (accuracy and parity, too)")


def _is_sidecar(path: str) -> bool:
    """Whether it is the folder beside a bundle where proofs are kept."""
    place = Path(path)
    return place.suffix == ".proofs" and place.is_dir() and not (place / "manifest.json").exists()


def _profile(name: str, *, quick: bool) -> ProfileName:
    from edgeclf_benchmarks.measuring.options import PROFILES

    if quick and name not in ("default", "quick"):
        raise UsageError(f"give either --quick or --profile {name}, not both")
    for known in PROFILES:
        if known == ("quick" if quick else name):
            return known
    raise UsageError(f"no profile {name!r}; choose one of {', '.join(PROFILES)}")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """ "1,2,4" -> (1, 2, 4), each once. Raises UsageError."""
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"{option} wants whole numbers such as 1,2,4, found {text!r}") from None
    if min(found) < 1:
        raise UsageError(f"{option} wants numbers above 0, found {text!r}")
    return found


def _most(text: str | None, usual: int) -> int | None:
    """How many images at most; None: all."""
    if text is None:
        return usual
    if text == "all":
        return None
    if not text.isdigit() or not int(text):
        raise UsageError(f"--images wants a number above 0, or all; found {text!r}")
    return int(text)
