"""Options that several verbs share: one name, one meaning, one help text."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeclf.training.choices import TrainingDevice
from edgeclf.verbs.shared import completion
from edgeclf_runtime.errors import BackendError, UsageError
from edgeclf_runtime.installing import pip_install

PixelMode = Literal["exact", "fast"]  # the runtime's own names, repeated so that --help loads no numpy; a test compares
SplitOrAll = Literal["test", "val", "train", "all"]
OwnPrecision = Literal["fp32", "fp16", "bf16", "int8"]
ClassCoverage = Literal["all", "present"]
Language = Literal["kotlin", "swift", "python", "c++"]


class Target(str, Enum):
    """What export writes bundles for. An Enum, for typer takes no list of a Literal."""

    onnx = "onnx"
    openvino = "openvino"
    litert = "litert"
    tensorrt = "tensorrt"
    pytorch = "pytorch"


BundlePath = Annotated[
    str,
    typer.Argument(
        metavar="BUNDLE",
        help="Bundle to use: a folder, or the .tar file that `edgeclf pack` made.",
        autocompletion=completion.bundles,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing output.")]
ImgSize = Annotated[
    int | None,
    typer.Option(
        "--img-size",
        "--imgsz",
        min=8,
        max=4096,
        metavar="PX",
        help="Side length of the model's square input, in pixels.",
        show_default="the model's own",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Device to run on, as the engine names it: cpu, cuda, tensorrt, gpu or npu. There is no fallback to "
        "another one.",
        show_default="cuda for tensorrt bundles, else cpu",
        autocompletion=completion.devices,
    ),
]
OWN_DEVICE = "own"  # what a bundle is made for; the runtime's own names, repeated so that --help loads no numpy
Targets = Annotated[
    list[Target] | None,
    typer.Option(
        "--target",
        "-t",
        metavar=f"<{'|'.join(each.value for each in Target)}>",
        help="Inference engine to export for; repeatable.",
        show_default="onnx",
    ),
]
Precision = Annotated[
    Literal["fp32", "fp16", "bf16", "int8", "auto"],
    typer.Option(
        help="Numeric precision. int8 is kept only if top-1 accuracy (of several labels: mAP) drops by at most "
        "--max-drop; auto is the fastest precision for which that holds. bf16 needs an engine that has it.",
    ),
]
Split = Annotated[SplitOrAll, typer.Option(help="Split of the data to evaluate on.")]
SplitSeed = Annotated[
    int, typer.Option(metavar="N", help="Random seed of the training's split, for data that has no splits.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 1 on inconclusive verdicts, too.")]
StrictImages = Annotated[bool, typer.Option("--strict", help="Stop at unusable images instead of leaving them out.")]
AllowFailedProof = Annotated[
    bool,
    typer.Option("--allow-failed-proof", help="Run even if this bundle's latest verification on this machine failed."),
]
PublicKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="PUB",
        help="minisign public key (.pub) that must have signed the bundle, in NAME.minisig beside it.",
        show_default=False,
    ),
]
ClassesToHave = Annotated[
    ClassCoverage,
    typer.Option(
        "--classes",
        help="Classes of the model that the data must contain. With present, some are enough; the model still chooses "
        "among all of them.",
    ),
]
RebuildIfStale = Annotated[
    bool,
    typer.Option(
        "--rebuild-if-stale",
        help="Rebuild a TensorRT engine that no longer fits this machine, as a new bundle.",
    ),
]
_MODEL = typer.Option(
    "--model",
    "-m",
    metavar="NAME",
    help="Backbone: a classifier of timm or torchvision; `edgeclf models` lists some.",
    autocompletion=completion.models,
)
Backbone = Annotated[str | None, _MODEL]
RequiredBackbone = Annotated[str, _MODEL]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", min=1, metavar="N", help="Images per inference call.")]
Vflip = Annotated[bool, typer.Option("--vflip", help="Random vertical flips, for images without an up and a down.")]
TrainDevice = Annotated[TrainingDevice, typer.Option(help="Device to train on; auto is the GPU if there is one.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Number of data-loading processes.", show_default="cores - 1"),
]
TrainingSeed = Annotated[int, typer.Option(metavar="N", help="Random seed.")]
PixelsMode = Annotated[
    PixelMode,
    typer.Option(
        help="Decoding and resizing: exact is as at export; fast decodes large JPEGs at a reduced size and resizes "
        "with SIMD, so that pixels differ slightly.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Number of threads per inference.", show_default="all cores"),
]
Streams = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of concurrent inferences, which share the threads.",
        show_default="one per thread for many images, else 1",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for models that OpenVINO compiled, for faster starts. Its files are run "
        "unchecked: keep it private.",
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="List every file that was skipped because it is no image.")
]
MaxMegapixels = Annotated[float, typer.Option(min=0, metavar="N", help="Largest accepted image, in megapixels.")]
MaxMegabytes = Annotated[float, typer.Option(min=0, metavar="N", help="Largest accepted file, in megabytes.")]
ComputePrecision = Annotated[
    OwnPrecision | None,
    typer.Option(
        help="Precision to compute in, where the engine offers a choice.",
        show_default="as the bundle says",
    ),
]


def names_of(chosen: Sequence[Enum] | None) -> tuple[str, ...]:
    """The plain names of what was chosen in a repeatable option, each once."""
    return tuple(dict.fromkeys(str(each.value) for each in chosen or ()))


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
