"""How a checkpoint's images were preprocessed, where it is recorded: timm's config in the file or beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf_export.sources.adapted import weights_in
from edgeclf_runtime.errors import DataError

CONFIG, ARGUMENTS = "config.json", "args.yaml"  # of timm's save_for_hf, and of its training script
_IN_FILE = "pretrained_cfg"


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """The preprocessing that a checkpoint records. `settings`: by timm's names, as in `data_config`, those recorded.

    `side_px`: side of the square input; None: not recorded. `source`: where it was found, for the user.
    """

    settings: Mapping[str, Any]
    side_px: int | None
    source: str


def read_checkpoint_config(weights: Path, backbone: str) -> CheckpointConfig | None:
    """timm's config in a torch file, in config.json or in args.yaml beside the weights; None where there is none.

    A config beside the weights for another backbone is ignored: it is not this checkpoint's.

    Raises DataError where a setting has an impossible value.
    """
    path = weights_in(weights)
    if not path.is_file():
        return None  # loading the tensors reports it
    for found, source in (
        (_in_file(path), f"{_IN_FILE} in {path.name}"),
        (_hub_config(path.parent / CONFIG, backbone), f"{CONFIG} beside {path.name}"),
        (_script_arguments(path.parent / ARGUMENTS, backbone), f"{ARGUMENTS} beside {path.name}"),
    ):
        if found is not None:
            return _checked(found, source)
    return None


def architecture_in(config: Path) -> str | None:
    """The backbone in timm's config.json; None where the file does not exist or is another one."""
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    found = content.get("architecture") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None


def _in_file(path: Path) -> Mapping[str, Any] | None:
    """The config beside the tensors of a torch file; loading the tensors reports what is wrong with the file."""
    from edgeclf_export.sources.weights import read_content

    try:
        content = read_content(path)
    except DataError:
        return None
    found = content.get(_IN_FILE) if isinstance(content, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _hub_config(path: Path, backbone: str) -> Mapping[str, Any] | None:
    """The config that timm's `save_for_hf` and `push_to_hf_hub` write; other frameworks use the same file name."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON, or a damaged one ({error}); fix it, or remove it") from error
    if not isinstance(content, dict) or content.get("architecture") != backbone:
        return None
    found = content.get(_IN_FILE, content)  # older ones are flat
    return found if isinstance(found, dict) else None


def _script_arguments(path: Path, backbone: str) -> Mapping[str, Any] | None:
    """The arguments of timm's train.py; the others it took from the backbone's own config."""
    if not path.is_file():
        return None
    try:
        import yaml

        content = yaml.safe_load(path.read_bytes())
    except (ImportError, OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    if not isinstance(content, dict) or str(content.get("model", "")).partition(".")[0] != backbone:
        return None
    side = content.get("img_size")
    given = {name: content[name] for name in _WANTED if content.get(name) is not None}
    return {**({"input_size": (3, side, side)} if side else {}), **given}


def _checked(found: Mapping[str, Any], source: str) -> CheckpointConfig:
    settings = {name: found[name] for name in _WANTED if found.get(name) is not None}
    for name, value in settings.items():
        wanted, fits = _WANTED[name]
        if not fits(value):
            raise DataError(f"{source}: {name} wants {wanted}, found {value!r}")
    size = settings.pop("input_size", None)
    return CheckpointConfig(settings, None if size is None else int(size[1]), source)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _three(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, (list, tuple)) and len(value) == 3 and all(map(fits, value))


def _is_square(value: object) -> bool:
    sizes = isinstance(value, (list, tuple)) and len(value) == 3 and all(isinstance(size, int) for size in value)
    return sizes and value[0] == 3 and value[1] == value[2] > 0  # type: ignore[index]


_WANTED: dict[str, tuple[str, Callable[[object], bool]]] = {
    "input_size": ("three channels and a square such as [3, 224, 224]", _is_square),
    "mean": ("three numbers", _three(_is_number)),
    "std": ("three numbers above 0", _three(lambda value: _is_number(value) and value > 0)),  # type: ignore[operator]
    "crop_pct": ("a number above 0", lambda value: _is_number(value) and value > 0),  # type: ignore[operator]
    "crop_mode": ("a word", lambda value: isinstance(value, str)),
    "interpolation": ("a word", lambda value: isinstance(value, str)),
}
