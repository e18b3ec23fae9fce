"""Names of tensors in a checkpoint: the part of the file that holds them, and prefixes by wrappers and other code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

# where training scripts keep the weights; averaged ones first, because those were evaluated
_PARTS: tuple[str, ...] = ("state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema")
_PARTS += ("state_dict", "model_state_dict", "model", "net", "network", "params", "module", "weights")
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")  # of DataParallel and of torch.compile, in any order
_COUNTERS = ("n_averaged",)  # beside the tensors of torch's AveragedModel
_WITHOUT = ", names without "


def find_tensors(content: object) -> tuple[object, str]:
    """The innermost part of a checkpoint that holds tensors, and its key where several parts do."""
    key = ""
    while isinstance(content, Mapping):
        parts = [name for name in _PARTS if isinstance(content.get(name), Mapping)]
        holding = [name for name in parts if _holds_tensors(content[name])]
        if not parts:
            break
        found = (holding or parts)[0]
        key = found if len(holding) > 1 else key
        content = content[found]
    return content, key


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    import torch

    return any(
        isinstance(value, torch.Tensor) or (key in _PARTS and isinstance(value, Mapping) and _holds_tensors(value))
        for key, value in content.items()
    )


def without_wrappers(state: Mapping[str, T]) -> tuple[dict[str, T], str]:
    """Names as in the network itself, and the longest prefix by a wrapper that was removed."""
    matches = [_WRAPPERS.match(name) for name in state]
    prefix = max((match[0] for match in matches if match), key=len, default="")
    renamed = {_WRAPPERS.sub("", name): value for name, value in state.items() if name not in _COUNTERS}
    tensors = sum(name not in _COUNTERS for name in state)
    return (renamed, prefix) if len(renamed) == tensors else (dict(state), "")


def fit_names(state: dict[str, T], wanted: Collection[str]) -> tuple[dict[str, T], str]:
    """The state without the prefix that its names have before those `wanted`, and that prefix; "": there is none."""
    wanted = frozenset(wanted)
    hidden: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        hidden.update(".".join([*parts[:cut], ""]) for cut in range(1, len(parts)) if ".".join(parts[cut:]) in wanted)
    prefix, count = hidden.most_common(1)[0] if hidden else ("", 0)
    if count <= sum(name in wanted for name in state):
        return state, ""
    renamed = {name.removeprefix(prefix): value for name, value in state.items()}
    return (renamed, prefix) if len(renamed) == len(state) else (state, "")


def origin_without(origin: str, prefix: str) -> str:
    """The origin of weights, for the manifest, with the prefix that was removed from their names."""
    return f"{origin}{_WITHOUT}{prefix!r}" if prefix else origin


def notes_on_names(origin: str) -> tuple[str, ...]:
    """For the user: the prefix that an origin reports as removed."""
    place, found, prefixes = origin.partition(_WITHOUT)
    return (f"the names in {place.split()[0].removeprefix('file:')} were taken without {prefixes}",) if found else ()


def shown_names(names: Iterable[str]) -> str:
    """The first three names, and how many there are."""
    listed = list(names)
    return f"{', '.join(listed[:3])}{f', … ({len(listed)} in all)' if len(listed) > 3 else ''}"
