"""CLIP models by name or folder, with the pixel contract and the tokenizer that their own config states."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.sources.clip.checkpoints import RANDOM, Checkpoint, find_checkpoint, find_in_folder, load_checkpoint
from edgeclf_export.sources.clip.library import import_open_clip, unlogged
from edgeclf_export.sources.clip.preprocess import (
    normalization_from_preprocess,
    open_clip_transform,
    pixels_from_preprocess,
)
from edgeclf_export.sources.published import HUB, impatient_hub
from edgeclf_export.sources.state_names import notes_on_names, origin_without
from edgeclf_export.sources.weights import digest_state, load_file
from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import DataError, UsageError, one_line
from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    import torch
    from PIL import Image

CONFIG = "open_clip_config.json"


@dataclass(frozen=True)
class Clip:
    """A CLIP model with its weights, in evaluation mode.

    Attributes
    ----------
    name, source
        What it is called, and what open_clip takes to find its tokenizer: the name, or `local-dir:FOLDER`.
    weights
        Their origin, for the manifest.
    config
        Its towers as open_clip describes them: embed_dim, vision_cfg, text_cfg, …
    preprocess
        open_clip's preprocess config: size, mean, std, interpolation, resize mode.
    """

    name: str
    source: str
    weights: str
    model: torch.nn.Module
    config: Mapping[str, Any]
    preprocess: Mapping[str, Any]

    @property
    def backbone(self) -> str:
        return f"open_clip/{self.name}"

    @property
    def notes(self) -> tuple[str, ...]:
        """For the user: what was decided while it was loaded."""
        return notes_on_names(self.weights)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all weights of both towers: encoders that share it share their embedding space."""
        return digest_state(self.model.state_dict())

    @cached_property
    def pixels(self) -> Pixels:
        return pixels_from_preprocess(self.preprocess)

    @cached_property
    def normalization(self) -> Normalization:
        return normalization_from_preprocess(self.preprocess)

    @property
    def pixel_reference(self) -> Callable[[Image.Image], NDArray[np.uint8]]:
        return open_clip_transform(self.preprocess)

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with to become logits."""
        return float(self.model.logit_scale.detach().exp())  # type: ignore[operator]

    @property
    def logit_bias(self) -> float | None:
        """What SigLIP adds to its logits; None: the model compares words by softmax and has none."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else float(bias.detach())

    @cached_property
    def tokenizer(self) -> Any:
        """open_clip's tokenizer of the model. Raises DataError where it has to be downloaded and can't be."""
        needs_hub = _needs_hub(self.config) or "siglip" in self.source.lower()
        try:
            with unlogged(), impatient_hub(HUB) if needs_hub else nullcontext():
                return import_open_clip().get_tokenizer(self.source)
        except (OSError, RuntimeError, ValueError, LookupError, ImportError, TypeError) as error:
            raise DataError(
                f"the tokenizer of {self.name} is not available ({one_line(error)}); it comes from a model hub, by the "
                "package transformers, unlike that of most CLIP models"
            ) from error


def load_clip(model: str, pretrained: str | None, *, img_size: int | None = None, seed: int = 0) -> Clip:
    """The CLIP model that open_clip calls `model`, or that lies in the folder `model`, with its weights.

    Parameters
    ----------
    model
        A name such as ViT-B-32, or a folder with open_clip_config.json and weights, as model hubs have them.
    pretrained
        A published tag, a .safetensors or torch file, TAG=FILE, or "random"; None: what the folder holds.
    img_size
        Side of the square input in pixels; None: the model's own. Position embeddings are interpolated for it.

    Raises
    ------
    UsageError
        No such model or weights.
    DataError
        The weights are not available, or are of another architecture.
    """
    import torch

    open_clip = import_open_clip()
    folder = Path(model)
    if folder.is_dir():
        name, source, config = folder.resolve().name, f"local-dir:{folder}", _read_config(folder)
        checkpoint = _beside(folder, pretrained, seed)
    else:
        name = source = _registered(model)
        config = open_clip.get_model_config(name)
        if pretrained is None:
            raise UsageError(f"give the weights of {name} with --pretrained TAG, FILE, TAG=FILE or random")
        checkpoint = find_checkpoint(name, pretrained, seed)
    torch.manual_seed(seed)
    module = _build(source, name, config, img_size)
    origin = checkpoint.origin
    if checkpoint.state is not None:
        prefix = load_checkpoint(module, checkpoint.state, name, resize=img_size is not None)
        origin = origin_without(origin, prefix)
    preprocess = {**module.visual.preprocess_cfg, **checkpoint.preprocessing}  # type: ignore[union-attr, dict-item]
    config = copy.deepcopy(dict(config))
    if img_size is not None:
        config["vision_cfg"]["image_size"] = img_size
    return Clip(name, source, origin, module.eval(), config, preprocess)


def _beside(folder: Path, pretrained: str | None, seed: int) -> Checkpoint:
    if pretrained is None:
        return find_in_folder(folder)
    if pretrained == RANDOM:
        return Checkpoint(None, f"random, seed {seed}")
    return Checkpoint(*load_file(Path(pretrained)))


def _registered(model: str) -> str:
    """The name as open_clip has it; ViT-B/32 is ViT-B-32. Raises UsageError with the closest names."""
    known = import_open_clip().list_models()
    name = model.replace("/", "-")
    if name in known:
        return name
    by_case = {each.lower(): each for each in known}
    close = [by_case[each] for each in get_close_matches(name.lower(), by_case)]
    advice = f"did you mean {', '.join(close)}?" if close else f"open_clip has {', '.join(known[:4])}, …"
    raise UsageError(f"no CLIP model {model!r}, and no folder of that name with {CONFIG}; {advice}")


def _read_config(folder: Path) -> dict[str, Any]:
    place = folder / CONFIG
    try:
        config = parse_json(place.read_text(encoding="utf-8"))["model_cfg"]
        if not isinstance(config["vision_cfg"], dict) or not isinstance(config["text_cfg"], dict):
            raise TypeError("vision_cfg and text_cfg are no objects")
        return dict(config)
    except OSError as error:
        raise DataError(f"{place}: {error.strerror}; a CLIP model's folder holds {CONFIG} and its weights") from error
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{place}: no config of a CLIP model ({one_line(error)})") from error


def _build(source: str, name: str, config: Mapping[str, Any], img_size: int | None) -> torch.nn.Module:
    """The architecture with random weights."""
    open_clip = import_open_clip()
    try:
        with unlogged(), impatient_hub(HUB) if _needs_hub(config) else nullcontext():
            module: torch.nn.Module = open_clip.create_model(
                source, load_weights=False, pretrained_image=False, pretrained_text=False, force_image_size=img_size
            )
    except (OSError, RuntimeError, ValueError, LookupError, ImportError, TypeError, AssertionError) as error:
        raise DataError(f"open_clip can't build {name}: {one_line(error)}") from error
    return module


def _needs_hub(config: Mapping[str, Any]) -> bool:
    """Whether its text tower or its tokenizer is another library's, found by a name on a model hub."""
    text = config["text_cfg"]
    return bool(text.get("hf_model_name") or text.get("hf_tokenizer_name"))
