"""Options that several verbs share: one name, one meaning, one help text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.verbs.shared import completion
from edgeclf_runtime.errors import BackendError, UsageError
from edgeclf_runtime.installing import pip_install

if TYPE_CHECKING:
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.bundle.proof import Proof
    from edgeclf_runtime.deploy.machine_proofs import Opened
    from edgeclf_runtime.deploy.signatures import Signature
    from edgeclf_runtime.images.pixels import PixelMode

BundlePath = Annotated[
    str,
    typer.Argument(
        metavar="BUNDLE", help="The bundle: a folder, or the .tar that pack made.", autocompletion=completion.bundles
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]
ImgSize = Annotated[
    int | None,
    typer.Option(
        "--img-size",
        "--imgsz",
        min=8,
        max=4096,
        metavar="PX",
        help="Side of the input.",
        show_default="the model's own",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Where to compute, as the engine has it: cpu, cuda, tensorrt, gpu, npu. Never elsewhere.",
        show_default="cuda for tensorrt bundles, else cpu",
    ),
]
_MANY_IMAGES = 16  # from here on it pays to keep each core at an image of its own
OWN_DEVICE = "own"  # what a bundle is made for; the runtime's own word, repeated so that --help loads no numpy
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 on an inconclusive verdict too.")]
Unproven = Annotated[
    bool, typer.Option("--unproven", help="Go on where the newest proof of this bundle on this machine failed.")
]
PublicKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="PUB",
        help="Refuse a bundle that this key (minisign's .pub file) has not signed, in NAME.minisig beside it.",
        show_default=False,
    ),
]
ClassesToHave = Annotated[
    str,
    typer.Option(
        "--classes",
        metavar="C",
        help="all: the data must have every class of the model. present: some are enough; predictions stay among all.",
    ),
]
RebuildIfStale = Annotated[
    bool,
    typer.Option(
        "--rebuild-if-stale",
        help="Build a TensorRT engine again, into a new bundle, where it no longer fits this machine.",
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="A timm or torchvision classifier.",
        autocompletion=completion.models,
    ),
]
Vflip = Annotated[bool, typer.Option("--vflip", help="Vertical flips: only without up and down.")]
TrainDevice = Annotated[str, typer.Option(help="auto (the GPU where there is one), cpu or cuda.")]
Workers = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Processes that prepare pictures.", show_default="cores - 1")
]
TrainingSeed = Annotated[int, typer.Option(metavar="N", help="All randomness follows from it.")]
PixelsMode = Annotated[
    str,
    typer.Option(
        metavar="MODE", help="exact: the reference's; fast: large JPEGs at a part of their size, SIMD resize."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads of one inference.", show_default="all cores"),
]
Streams = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Inferences at the same time, which share the threads.",
        show_default="one a thread for many images, else 1",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep what OpenVINO compiles there: later starts are quicker. Keep others out."),
]
MaxMegapixels = Annotated[float, typer.Option(min=0, metavar="N", help="Refuse images of more pixels than this.")]
MaxMegabytes = Annotated[float, typer.Option(min=0, metavar="N", help="Refuse larger files.")]
ComputePrecision = Annotated[
    str | None,
    typer.Option(
        metavar="PRECISION",
        help="Compute in fp32, fp16, bf16 or int8 where the engine has the choice.",
        show_default="what the bundle says",
    ),
]


def session_options(
    device: str,
    threads: int | None,
    compute_precision: str | None,
    *,
    streams: int | None = None,
    cache: Path | None = None,
) -> SessionOptions:
    """The runtime's options. Raises UsageError for a precision that nothing has, BackendError on an old JetPack."""
    from edgeclf_runtime.backends.engine import SessionOptions
    from edgeclf_runtime.bundle.manifest import PRECISIONS
    from edgeclf_runtime.machine.facts import jetson_refusal

    if refusal := jetson_refusal():
        raise BackendError(refusal)
    if compute_precision is not None and compute_precision not in PRECISIONS:
        raise UsageError(f"no precision {compute_precision!r}; choose one of {', '.join(PRECISIONS)}")
    return SessionOptions(device.lower(), threads, compute_precision, streams=streams, cache=cache)


def for_many(options: SessionOptions, images: int | None) -> SessionOptions:
    """The options for so many images (None: nobody knows): from some number on several are answered at once."""
    from dataclasses import replace

    return options if images is not None and images < _MANY_IMAGES else replace(options, hint="throughput")


def pixel_mode(name: str) -> PixelMode:
    """Raises UsageError for another word than exact and fast."""
    if name not in ("exact", "fast"):
        raise UsageError(f"no pixels {name!r}; choose one of exact, fast")
    return name  # type: ignore[return-value]


def check_threshold(threshold: float | None, scores: str) -> None:
    """Raises UsageError for what is no probability; margins may be any number."""
    import math

    if threshold is not None and (not math.isfinite(threshold) or not (scores == "margin" or 0 <= threshold <= 1)):
        raise UsageError(f"--threshold is a probability from 0 to 1, found {threshold:g}")


def open_signed(path: str, key: Path | None) -> tuple[Bundle, Signature | None]:
    """The bundle at `path` and, where there is a `key`, its signature, checked before any other file is read."""
    from edgeclf.console import say
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.deploy.signatures import check_signature, read_public_key

    opened = Bundle.open(path)
    if key is None:
        return opened, None
    signature = check_signature(opened, read_public_key(key))
    say(f"signed with the key {signature.key_id} ({signature.path})", style="dim")
    return opened, signature


def open_bundle(path: str | Bundle, options: SessionOptions, *, rebuild_if_stale: bool) -> Bundle:
    """The bundle at `path`, or with `rebuild_if_stale` the one that takes a stale engine's place, said loudly."""
    from edgeclf.console import say
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.deploy import build

    opened = Bundle.open(path)
    if not rebuild_if_stale:
        return opened
    return build.rebuild_if_stale(opened, options, lambda sentence: say(sentence, style="bold yellow"))


def require_no_failed_proof(opened: Opened, *, unproven: bool) -> Proof | None:
    """This machine's newest proof, None where there is none; raises GateError where it failed, unless `unproven`."""
    from edgeclf.console import say
    from edgeclf_runtime.deploy import machine_proofs as proofs

    def warn(sentence: str) -> None:
        say(sentence, style="bold red" if sentence.startswith("FAILED") else "bold yellow")

    return proofs.require_no_failed_proof(opened, warn, unproven=unproven)


def say_remarks(facts: Mapping[str, str]) -> None:
    """What a session's engine remarks of this machine, if it does."""
    from edgeclf.console import say

    if remarks := facts.get("remarks"):
        say(f"note: {remarks}", style="yellow")


def shell_word(path: str) -> str:
    """`path` as a shell takes it, for the commands that a verb proposes."""
    import shlex

    return shlex.quote(path)


def need(extra: str, *modules: str) -> None:
    """Raises BackendError, with the line that installs the extra, unless all of its modules are here."""
    from importlib.util import find_spec

    if missing := [module for module in modules if find_spec(module) is None]:
        raise BackendError(f"{missing[0]} is not installed; install it with: {pip_install(extra)}")


def need_one_process(what: str) -> None:
    """Raises UsageError under torchrun, for what would do the same in each of its processes."""
    import os

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(f"{what} works in one process; start it without torchrun")


def some_are_enough(classes: str) -> bool:
    """Whether the data may lack classes of the model (--classes present). Raises UsageError."""
    if classes not in ("all", "present"):
        raise UsageError(f"no --classes {classes!r}; choose all or present")
    return classes == "present"
