"""Options that several verbs share: one name, one meaning, one help text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf_runtime.errors import BackendError, UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.engine import SessionOptions

BundlePath = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle: a folder, or the .tar that pack made.")]
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
        metavar="NAME", help="Where to compute, as the engine has it: cpu, cuda, tensorrt, gpu, npu. Never elsewhere."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads of one inference.", show_default="all cores"),
]
ComputePrecision = Annotated[
    str | None,
    typer.Option(
        metavar="PRECISION",
        help="Compute in fp32, fp16, bf16 or int8 where the engine has the choice.",
        show_default="what the bundle says",
    ),
]


def session_options(device: str, threads: int | None, compute_precision: str | None) -> SessionOptions:
    """The runtime's options. Raises UsageError for a precision that nothing has, BackendError on an old JetPack."""
    from edgeclf_runtime.engine import SessionOptions
    from edgeclf_runtime.machine import jetson_refusal
    from edgeclf_runtime.manifest import PRECISIONS

    if refusal := jetson_refusal():
        raise BackendError(refusal)
    if compute_precision is not None and compute_precision not in PRECISIONS:
        raise UsageError(f"no precision {compute_precision!r}; choose one of {', '.join(PRECISIONS)}")
    return SessionOptions(device=device.lower(), threads=threads, compute_precision=compute_precision)


def shell_word(path: str) -> str:
    """`path` as a shell takes it, for the commands that a verb proposes."""
    import shlex

    return shlex.quote(path)


def need(extra: str, *modules: str) -> None:
    """Raises BackendError, with the line that installs the extra, unless all of its modules are here."""
    from importlib.util import find_spec

    if missing := [module for module in modules if find_spec(module) is None]:
        raise BackendError(f"{missing[0]} is not installed; install it with: pip install 'edgeclf[{extra}]'")
