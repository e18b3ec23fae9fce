"""Backbones by name: timm's and torchvision's classifiers, with the pixel contract that their own config states."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf_export.exportable import Exportable
from edgeclf_export.sources.checkpoint_config import CheckpointConfig, read_checkpoint_config
from edgeclf_export.sources.data_config import (
    changed_config,
    data_config,
    pixels_from_config,
    reference_input,
    reference_transform,
    three,
)
from edgeclf_export.sources.labels import IMAGENET_CLASSES, default_labels, shown_labels
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.sources.names import resolve_backbone
from edgeclf_export.sources.published import load_published, quiet_hub
from edgeclf_export.sources.state_names import fit_names, notes_on_names, origin_without
from edgeclf_export.sources.weights import PACKAGES, State, digest_state, load_file, load_into, load_package
from edgeclf_runtime.backends.torch_module import Builder, build_module
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

_TORCHVISION_HEADS = ("fc", "classifier", "head", "heads")
_WITHOUT_CONFIG = ("hub", "random")
_UNKNOWN_PREPROCESSING = (
    "{} does not record how its images were preprocessed, so it gets the preprocessing of the published weights; if it "
    "was trained with another, give --mean, --std, --crop-pct, --crop-mode, --interpolation or --img-size"
)
_UNKNOWN_NAMES = "the names of its {} classes are not known, so they are class_0, class_1, …: give --labels FILE"


def load_backbone(
    name: str,
    weights: str = "hub",
    *,
    labels: tuple[str, ...] | None = None,
    img_size: int | None = None,
    seed: int = 0,
    preprocessing: Mapping[str, Any] | None = None,
    pictures: Mapping[str, Any] | None = None,
) -> Exportable:
    """The classifier `name` of timm or torchvision, with its weights, ready for export.

    Parameters
    ----------
    name
        A registered model, timm's first; `timm/NAME` or `torchvision/NAME` where both have it.
    weights
        "hub" (what timm or torchvision publish), "random", a weights package, or a safetensors or torch file.
    labels
        Class names in order; None: ImageNet's for 1,000 classes, else class_0, class_1, …
    img_size
        Side of the square input in pixels; None: the checkpoint's, or else the backbone's own.
    preprocessing
        How images were preprocessed when a checkpoint of one's own was trained, by timm's names: mean, std, crop_pct,
        crop_mode, interpolation. What is not given is the checkpoint's, or else the backbone's own.
    pictures
        Former name of `preprocessing`.

    Raises
    ------
    UsageError
        No such model or weights; a `preprocessing` that the pixel contract does not have.
    DataError
        The weights are not available, or don't fit.
    """
    import torch

    if pictures is not None:
        warnings.warn("load_backbone(pictures=…) is now preprocessing=…", DeprecationWarning, stacklevel=2)
        preprocessing = pictures
    quiet_hub()
    guard_torchvision()
    library, name = resolve_backbone(name)
    recorded = config_of_weights(weights, name)
    given = {**(preprocessing or {}), **({"img_size": img_size} if img_size else {})}
    img_size = img_size or (recorded.side_px if recorded else None)
    size = own_size(library, name, img_size)
    state, origin = find_weights(library, name, weights, size, seed)
    classes = len(labels) if labels is not None else None
    if state is not None:
        state, origin = _with_own_head(library, name, state, origin, size)
        classes = _count_classes(library, name, state)
    builder = describe_builder(library, name, classes, size, trained=state is not None)
    torch.manual_seed(seed)
    module = build_module(builder)
    if state is not None:
        state, prefix = fit_names(state, module.state_dict())
        origin = origin_without(origin, prefix)
        _refuse_headless(library, name, module, state)
        load_into(module, state, name)
    classes = _output_classes(builder, module)
    if not classes:
        raise UsageError(f"{name} gives features, not classes; choose a backbone with a classifier, or train its head")
    if labels is not None and len(labels) != classes:
        raise DataError(f"{shown_labels(labels)}, but {name} with these weights has {classes} classes")
    config = changed_config(
        data_config(library, name, module, img_size),
        {**(recorded.settings if recorded else {}), **(preprocessing or {})},
    )
    made = exportable_from_module(
        module,
        backbone=f"{library}/{name}",
        weights=origin,
        labels=labels if labels is not None else default_labels(classes),
        pixels=pixels_from_config(config),
        normalization=Normalization(three(config["mean"]), three(config["std"])),
        reference=Reference("pytorch", f"{library}/{name} {digest_state(module.state_dict())}"),
        builder=builder,
        deploy=fold_branches(builder),
        pixel_reference=reference_transform(config),
        reference_input=reference_input(config),
    )
    unknown = (
        [_UNKNOWN_PREPROCESSING.format(Path(weights).name)]
        if are_own(weights) and not recorded and not preprocessing
        else []
    )
    nameless = [_UNKNOWN_NAMES.format(classes)] if labels is None and classes != IMAGENET_CLASSES else []
    return replace(
        made,
        notes=(*notes_on_names(origin), *unknown, *nameless),
        pixels_from=_pixels_from(f"{library}/{name}", recorded, given),
    )


def fold_branches(builder: Builder) -> Callable[[torch.nn.Module], torch.nn.Module]:
    """A function: trained module -> module to deploy. MobileOne, RepViT and FastViT (MobileCLIP) fold branches."""

    def fold(module: torch.nn.Module) -> torch.nn.Module:
        if builder.library == "torchvision":
            return module
        from timm.utils.model import reparameterize_model

        folded: torch.nn.Module = reparameterize_model(module)
        if builder.library == "open_clip":
            from edgeclf_export.sources.clip.attention import with_plain_attention

            return with_plain_attention(folded)
        return folded

    return fold


def are_own(weights: str) -> bool:
    """Whether these are weights on disk, not published ones."""
    return weights not in (*_WITHOUT_CONFIG, *PACKAGES)


def config_of_weights(weights: str, backbone: str) -> CheckpointConfig | None:
    """The preprocessing that weights on disk record; None: they record none, or they are published ones."""
    return read_checkpoint_config(Path(weights), backbone) if are_own(weights) else None


def _pixels_from(backbone: str, recorded: CheckpointConfig | None, settings: Mapping[str, Any]) -> str:
    """Where the pixel contract comes from, for the user."""
    others = recorded.source if recorded else f"the published {backbone}"
    options = ", ".join(f"--{name.replace('_', '-')}" for name in settings)
    return f"{options}; the rest from {others}" if options else others


def find_weights(library: str, name: str, weights: str, size: dict[str, int], seed: int) -> tuple[State | None, str]:
    """The weights that `weights` names, None for random ones, and their origin for the manifest."""
    if weights == "random":
        return None, f"random, seed {seed}"
    if weights == "hub":
        return load_published(library, name, size)
    if weights in PACKAGES:
        return load_package(weights, name.partition(".")[0])
    return load_file(Path(weights))


def describe_builder(library: str, name: str, classes: int | None, size: dict[str, int], *, trained: bool) -> Builder:
    """How to build the architecture again. `classes` None: as many as it has by itself."""
    arguments: dict[str, int | bool] = {**size}
    if classes is not None:
        arguments["num_classes"] = classes
    if library == "torchvision" and name in ("googlenet", "inception_v3"):
        # the published weights, and what was trained from them, want images normalised with mean = std = 0.5
        arguments.update(aux_logits=False, init_weights=False, transform_input=trained)
    return Builder(library, name, arguments)  # type: ignore[arg-type]


def _with_own_head(library: str, name: str, state: State, origin: str, size: dict[str, int]) -> tuple[State, str]:
    """The state dict and its origin, without the prefix that hides its head where one does."""
    if _count_classes(library, name, state) is not None:
        return state, origin
    module = build_module(describe_builder(library, name, None, size, trained=True))
    state, prefix = fit_names(state, module.state_dict())
    return state, origin_without(origin, prefix)


def _count_classes(library: str, name: str, state: State) -> int | None:
    """The classes of a state dict, from the shape of its head; None where the head is not known."""
    heads = (f"{head}.weight" for head in head_layers(library, name, state))
    return next((int(state[head].shape[0]) for head in heads if head in state), None)


def head_layers(library: str, name: str, tensors: Iterable[str]) -> list[str]:
    """The layers that give the logits, among those that these tensors belong to."""
    if library == "timm":
        import timm

        named = timm.get_pretrained_cfg(name, allow_unregistered=True).classifier
        return [named] if isinstance(named, str) else list(named or ())
    ends = [key for key in tensors if key.endswith(".weight") and key.partition(".")[0] in _TORCHVISION_HEADS]
    return [key.removesuffix(".weight") for key in sorted(ends)[-1:]]


def _refuse_headless(library: str, name: str, module: torch.nn.Module, state: State) -> None:
    """Raises UsageError where only the head is missing, as in weights that `edgeclf adapt` wrote."""
    missing = [tensor for tensor in module.state_dict() if tensor not in state]
    heads = head_layers(library, name, missing)
    if missing and all(tensor.rpartition(".")[0] in heads for tensor in missing):
        raise UsageError(
            f"these weights of {name} have no head, so they give no classes; train one with `edgeclf train DATA "
            f"-m {name} --weights FILE` and export that run"
        )


def _output_classes(builder: Builder, module: torch.nn.Module) -> int:
    if builder.library == "timm":
        return int(module.num_classes)  # type: ignore[arg-type]
    return builder.arguments.get("num_classes", IMAGENET_CLASSES)


def own_size(library: str, name: str, img_size: int | None) -> dict[str, int]:
    """{"img_size": pixels} where the architecture itself depends on it (timm's ViT and its kin), else empty."""
    if img_size is None or library != "timm":
        return {}
    import timm

    return {"img_size": img_size} if timm.get_pretrained_cfg(name, allow_unregistered=True).fixed_input_size else {}
