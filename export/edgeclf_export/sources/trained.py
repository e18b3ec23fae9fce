"""A backbone for other classes: built with a new head for training, rebuilt from its weights for export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable, Training
from edgeclf_export.sources.backbones import (
    config_of_weights,
    describe_builder,
    find_weights,
    fold_branches,
    head_layers,
    own_size,
)
from edgeclf_export.sources.data_config import (
    changed_config,
    data_config,
    pixels_from_config,
    reference_transform,
    three,
)
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.sources.names import resolve_backbone
from edgeclf_export.sources.published import quiet_hub
from edgeclf_export.sources.state_names import fit_names, origin_without
from edgeclf_export.sources.weights import State, digest_state, load_into
from edgeclf_runtime.backends.torch_module import Builder, build_module
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    import torch
    from PIL import Image

CLIP = "clip:"  # in front of weights: where those of a CLIP model come from


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How to build a network again, with its pixel contract and classes. `weights`: where training started from."""

    builder: Builder
    backbone: str
    weights: str
    labels: tuple[str, ...]
    pixels: Pixels
    normalization: Normalization


def load_for_training(
    name: str,
    weights: str,
    *,
    labels: tuple[str, ...],
    img_size: int | None,
    seed: int,
    value_range: tuple[float, float] | None = None,
) -> tuple[Architecture, torch.nn.Module]:
    """The backbone with its weights and a head of its own for `labels`. Raises as `load_backbone` does.

    Weights "clip:WHERE": the image tower of a CLIP model. `value_range`: of images with more than 8 bits, the stored
    values that become black and white.
    """
    if weights.startswith(CLIP):
        loaded = _load_clip_tower(name, weights.removeprefix(CLIP), labels, img_size, seed)
    else:
        loaded = _load_backbone(name, weights, labels, img_size, seed)
    architecture, module = loaded
    return replace(architecture, pixels=replace(architecture.pixels, value_range=value_range)), module


def _load_backbone(
    name: str, weights: str, labels: tuple[str, ...], img_size: int | None, seed: int
) -> tuple[Architecture, torch.nn.Module]:
    import torch

    quiet_hub()
    guard_torchvision()
    library, name = resolve_backbone(name)
    recorded = config_of_weights(weights, name)
    img_size = img_size or (recorded.side_px if recorded else None)
    size = own_size(library, name, img_size)
    state, origin = find_weights(library, name, weights, size, seed)
    builder = describe_builder(library, name, len(labels), size, trained=state is not None)
    torch.manual_seed(seed)
    module = build_module(builder)
    if state is not None:
        state, prefix = fit_names(state, module.state_dict())
        origin = origin_without(origin, prefix)
        load_into(module, _with_fresh_head(module, state, head_layers(library, name, module.state_dict())), name)
    config = changed_config(data_config(library, name, module, img_size), recorded.settings if recorded else {})
    architecture = Architecture(
        builder=builder,
        backbone=f"{library}/{name}",
        weights=f"{origin}, pixels as in {recorded.source}" if recorded else origin,
        labels=labels,
        pixels=pixels_from_config(config),
        normalization=Normalization(three(config["mean"]), three(config["std"])),
    )
    return architecture, module


def require_weights(name: str, weights: str, *, img_size: int | None, seed: int) -> None:
    """Raises as `load_backbone` does for weights that are not available: before anything is trained."""
    if weights.startswith(CLIP):
        from edgeclf_export.sources.clip.models import load_clip

        load_clip(name, weights.removeprefix(CLIP) or None, img_size=img_size, seed=seed)
        return
    quiet_hub()
    guard_torchvision()
    library, name = resolve_backbone(name)
    find_weights(library, name, weights, own_size(library, name, img_size), seed)


def _load_clip_tower(
    name: str, pretrained: str, labels: tuple[str, ...], img_size: int | None, seed: int
) -> tuple[Architecture, torch.nn.Module]:
    """An image tower with a head on its unnormalised embedding: on one of length 1 training would be too slow."""
    from edgeclf_export.sources.clip.models import load_clip
    from edgeclf_export.sources.clip.towers import image_tower, tower_builder

    clip = load_clip(name, pretrained or None, img_size=img_size, seed=seed)
    visual, width = clip.model.get_submodule("visual"), int(clip.config["embed_dim"])
    architecture = Architecture(
        builder=tower_builder(clip, classes=len(labels), normalize=False),
        backbone=clip.backbone,
        weights=f"{CLIP}{clip.weights}",
        labels=labels,
        pixels=clip.pixels,
        normalization=clip.normalization,
    )
    return architecture, image_tower(visual, classes=len(labels), width=width, normalize=False)


def _pixel_reference(
    architecture: Architecture, module: torch.nn.Module
) -> Callable[[Image.Image], NDArray[np.uint8]] | None:
    """The library's own transform; None where it differs from this run's Pixels."""
    builder = architecture.builder
    if builder.library == "open_clip":
        from edgeclf_export.sources.clip.preprocess import open_clip_transform, preprocess_of

        return open_clip_transform(preprocess_of(architecture.pixels, architecture.normalization))
    config = data_config(builder.library, builder.name, module, architecture.pixels.crop_px[0])
    plain = replace(architecture.pixels, value_range=None)  # of an image that is decoded already
    return reference_transform(config) if pixels_from_config(config) == plain else None


def _with_fresh_head(module: torch.nn.Module, state: State, heads: Sequence[str]) -> State:
    """`state`, with tensors that differ only in the number of classes replaced by the module's own.

    Where it has no head at all (adapted weights, timm's weights without classes), the module's own is kept.
    """
    own = module.state_dict()
    if not any(name.rpartition(".")[0] in heads for name in state):
        state = {**state, **{name: tensor for name, tensor in own.items() if name.rpartition(".")[0] in heads}}
    fresh = {
        name: own[name]
        for name, tensor in state.items()
        if name in own and own[name].shape != tensor.shape and own[name].shape[1:] == tensor.shape[1:]
    }
    return {**state, **fresh}


def rebuild(architecture: Architecture, state: State) -> torch.nn.Module:
    """The trained network. Raises DataError where the weights are of another."""
    module = build_module(architecture.builder)
    load_into(module, state, architecture.backbone)
    return module


def exportable_from_training(
    architecture: Architecture, state: State, training: Training, proof_files: tuple[Path, ...]
) -> Exportable:
    """A trained network as the exporter takes it."""
    module = rebuild(architecture, state)
    builder = architecture.builder
    return exportable_from_module(
        module,
        backbone=architecture.backbone,
        weights=architecture.weights,
        labels=architecture.labels,
        pixels=architecture.pixels,
        normalization=architecture.normalization,
        reference=Reference("pytorch", f"{architecture.backbone} {digest_state(module.state_dict())}"),
        builder=builder,
        deploy=fold_branches(builder),
        pixel_reference=_pixel_reference(architecture, module),
        training=training,
        proof_files=proof_files,
    )
