"""Weights of a CLIP model: a tag that open_clip publishes, a local file, or random ones. No pickle is ever run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf_export.sources.clip.library import import_open_clip, unlogged
from edgeclf_export.sources.published import HUB, impatient_hub
from edgeclf_export.sources.state_names import fit_names
from edgeclf_export.sources.weights import State, load_file, load_into, read_state
from edgeclf_runtime.errors import DataError, UsageError, one_line

if TYPE_CHECKING:
    import torch

RANDOM = "random"
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
_OF_SCRIPTED_ARCHIVES = ("input_resolution", "context_length", "vocab_size")
_FOLDER_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors (None: random ones), their origin for the manifest, and the preprocessing that they were trained with."""

    state: State | None
    origin: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def find_checkpoint(name: str, pretrained: str, seed: int) -> Checkpoint:
    """The weights of a registered model: TAG, FILE, TAG=FILE (a file, with the preprocessing of the tag), or "random".

    Raises
    ------
    UsageError
        Neither a tag of this model nor a file; a tag of the model's QuickGELU variant.
    DataError
        The file holds something else, or the tag can't be downloaded; the message has the way without a network.
    """
    from open_clip.pretrained import get_pretrained_cfg

    if pretrained == RANDOM:
        return Checkpoint(None, f"random, seed {seed}", _common_preprocessing(name) or {})
    if get_pretrained_cfg(name, pretrained):
        return _fetch(name, pretrained)
    tag, equals, place = pretrained.partition("=")
    if equals and get_pretrained_cfg(name, tag):
        _check_activation(name, tag)
        state, origin = load_file(Path(place))
        return Checkpoint(state, origin, _preprocessing_of(name, tag))
    if not Path(pretrained).is_file():
        raise UsageError(f"{pretrained!r} is neither a file nor weights that are published for {name}: {_tags(name)}")
    preprocessing = _common_preprocessing(name)
    if preprocessing is None:
        raise UsageError(
            f"weights of {name} are published with several kinds of preprocessing; choose the one of these, as "
            f"--pretrained TAG={pretrained} with one of {_tags(name)}"
        )
    state, origin = load_file(Path(pretrained))
    return Checkpoint(state, origin, preprocessing)


def find_in_folder(folder: Path) -> Checkpoint:
    """The weights that lie beside `open_clip_config.json`, as on model hubs. Raises DataError where there are none."""
    for name in _FOLDER_WEIGHTS:
        if (folder / name).is_file():
            state, origin = load_file(folder / name)
            return Checkpoint(state, origin)
    raise DataError(
        f"{folder}: holds no weights; wanted one of {', '.join(_FOLDER_WEIGHTS)}, or give --pretrained FILE"
    )


def load_checkpoint(model: torch.nn.Module, state: State, name: str, *, resize: bool) -> str:
    """Loads every tensor, renamed from the layouts that open_clip knows; returns the prefix removed from the names.

    Raises DataError where they are of another layout.

    `resize`: interpolate position embeddings for another input size.
    """
    import torch
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    state = {key: tensor for key, tensor in state.items() if key not in _OF_SCRIPTED_ARCHIVES}
    own = model.state_dict()
    state, prefix = fit_names(state, own)
    try:
        state = convert_state_dict(model, state)
        if "positional_embedding" in state and "positional_embedding" not in own:
            state = convert_to_custom_text_state_dict(state)
        for scalar in ("logit_scale", "logit_bias"):  # a number or a vector of one
            if scalar in state and scalar in own and state[scalar].numel() == own[scalar].numel():
                state[scalar] = state[scalar].reshape(own[scalar].shape)
        if resize:
            with unlogged():
                resize_pos_embed(state, model)
                resize_text_pos_embed(state, model)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f"the weights are not of {name}: {one_line(error)}") from error
    load_into(model, {key: tensor.to(torch.float32) for key, tensor in state.items()}, name)
    return prefix


def _fetch(name: str, tag: str) -> Checkpoint:
    """The published weights; what is cached needs no network."""
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    _check_activation(name, tag)
    config = get_pretrained_cfg(name, tag)
    try:
        place = os.environ.get("HF_ENDPOINT", HUB) if config.get("hf_hub") else config["url"]
        with impatient_hub(place), unlogged():
            path = download_pretrained(config)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise DataError(
            f"the weights {tag} of {name} are not available ({one_line(error)}); download the file where there is a "
            f"network and give --pretrained {tag}=FILE, or --model FOLDER with open_clip_config.json and the weights"
        ) from error
    return Checkpoint(
        read_state(Path(path)), f"hub:{config.get('hf_hub') or config['url']}", _preprocessing_of(name, tag)
    )


def _check_activation(name: str, tag: str) -> None:
    """Raises UsageError for weights trained with the other of GELU and QuickGELU: their embeddings would be wrong."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    twin = name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"
    trained_quick = bool(get_pretrained_cfg(name, tag).get("quick_gelu", False))
    is_quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    if trained_quick != is_quick and get_pretrained_cfg(twin, tag):
        raise UsageError(f"the weights {tag} were trained with another activation than {name} has; give --model {twin}")


def _preprocessing_of(name: str, tag: str) -> dict[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg

    config = get_pretrained_cfg(name, tag)
    return {key: config[key] for key in _PREPROCESSING}


def _common_preprocessing(name: str) -> dict[str, Any] | None:
    """The preprocessing of all published checkpoints of `name`; None where they differ."""
    open_clip = import_open_clip()
    ways = [_preprocessing_of(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    if any(way != ways[0] for way in ways):
        return None
    return ways[0] if ways else {}


def _tags(name: str) -> str:
    return ", ".join(import_open_clip().list_pretrained_tags_by_model(name)) or "none"
