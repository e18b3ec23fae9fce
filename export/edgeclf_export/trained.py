"""A backbone that learns other classes: built with a fresh head for training, rebuilt from its weights for export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf_export.backbones import (
    data_config,
    describe_builder,
    find_weights,
    fold_branches,
    own_size,
    pixels_from_config,
    reference_transform,
    three,
)
from edgeclf_export.exportable import Exportable, Training
from edgeclf_export.modules import exportable_from_module
from edgeclf_export.names import resolve_backbone
from edgeclf_export.published import quiet_hub
from edgeclf_export.weights import State, digest_state, load_into
from edgeclf_runtime.backends.torch_module import Builder, build_module
from edgeclf_runtime.manifest import Normalization, Reference
from edgeclf_runtime.pixels import Pixels
from edgeclf_runtime.torchvision_guard import guard_torchvision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How to build a network again, and what its pictures and classes are. `weights`: where training started from."""

    builder: Builder
    backbone: str
    weights: str
    labels: tuple[str, ...]
    pixels: Pixels
    normalization: Normalization


def load_for_training(
    name: str, weights: str, *, labels: tuple[str, ...], img_size: int | None, seed: int
) -> tuple[Architecture, torch.nn.Module]:
    """The backbone with its weights and a head of its own for `labels`. Raises as `load_backbone` does."""
    import torch

    quiet_hub()
    guard_torchvision()
    library, name = resolve_backbone(name)
    size = own_size(library, name, img_size)
    state, origin = find_weights(library, name, weights, size, seed)
    builder = describe_builder(library, name, len(labels), size, trained=state is not None)
    torch.manual_seed(seed)
    module = build_module(builder)
    if state is not None:
        load_into(module, _with_fresh_head(module, state), name)
    config = data_config(library, name, module, img_size)
    architecture = Architecture(
        builder=builder,
        backbone=f"{library}/{name}",
        weights=origin,
        labels=labels,
        pixels=pixels_from_config(config),
        normalization=Normalization(three(config["mean"]), three(config["std"])),
    )
    return architecture, module


def _with_fresh_head(module: torch.nn.Module, state: State) -> State:
    """`state`, the tensors that differ in nothing but the number of classes replaced by the module's own."""
    own = module.state_dict()
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
    config = data_config(builder.library, builder.name, module, architecture.pixels.crop_px[0])
    same = pixels_from_config(config) == architecture.pixels  # else nobody's transform is like this run's Pixels
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
        pixel_reference=reference_transform(config) if same else None,
        training=training,
        proof_files=proof_files,
    )
