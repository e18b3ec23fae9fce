"""Backbones by name: timm's and torchvision's classifiers, with the pixel contract that their own config states."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.labels import default_labels
from edgeclf_export.modules import exportable_from_module
from edgeclf_export.weights import PACKAGES, State, digest_state, load_file, load_into, load_package, quiet_hub
from edgeclf_runtime.backends.torch_module import Builder, build_module
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.manifest import Normalization, Reference
from edgeclf_runtime.pixels import Pixels
from edgeclf_runtime.torchvision_guard import guard_torchvision

if TYPE_CHECKING:
    import torch
    from PIL import Image


def load_backbone(
    name: str,
    weights: str = "hub",
    *,
    labels: tuple[str, ...] | None = None,
    img_size: int | None = None,
    seed: int = 0,
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
        Side of the square input in pixels; None: the backbone's own.

    Raises
    ------
    UsageError
        No such model or weights.
    DataError
        The weights can't be had, or don't fit.
    """
    import torch

    quiet_hub()
    guard_torchvision()
    library, name = resolve_backbone(name)
    torch.manual_seed(seed)
    state, origin = _find_weights(library, name, weights, seed)
    arguments: dict[str, int | bool] = {}
    classes = len(labels) if labels else None
    if state is not None:
        classes = _count_classes(library, name, state)
    if classes is not None:
        arguments["num_classes"] = classes
    if library == "torchvision" and name in ("googlenet", "inception_v3"):
        arguments.update(aux_logits=False, init_weights=weights == "random", transform_input=False)
    if img_size is not None and library == "timm" and _takes_img_size(name):
        arguments["img_size"] = img_size
    builder = Builder(library, name, arguments)  # type: ignore[arg-type]
    module = build_module(builder)
    if state is not None:
        load_into(module, state, name)
    classes = _output_classes(library, module)
    if labels is not None and len(labels) != classes:
        raise DataError(f"{len(labels)} labels, but {name} with these weights has {classes} classes")
    config = _data_config(library, name, module, img_size)
    return exportable_from_module(
        module,
        backbone=f"{library}/{name}",
        weights=origin,
        labels=labels or default_labels(classes),
        pixels=pixels_from_config(config),
        normalization=Normalization(_three(config["mean"]), _three(config["std"])),
        reference=Reference("pytorch", f"{library}/{name} {digest_state(module.state_dict())}"),
        builder=builder,
        deploy=fold_branches(builder),
        pixel_reference=reference_transform(config),
    )


def fold_branches(builder: Builder) -> Callable[[torch.nn.Module], torch.nn.Module]:
    """What makes the trained module the one to deploy: MobileOne, RepViT and FastViT fold branches into one."""

    def fold(module: torch.nn.Module) -> torch.nn.Module:
        if builder.library != "timm":
            return module
        from timm.utils.model import reparameterize_model

        folded: torch.nn.Module = reparameterize_model(module)
        return folded

    return fold


def resolve_backbone(name: str) -> tuple[str, str]:
    """("timm" or "torchvision", registered name). Raises UsageError with the closest names."""
    import timm
    from torchvision import models

    library, _, short = name.rpartition("/")
    known = {"timm": timm.list_models(), "torchvision": models.list_models(module=models)}
    if library and library not in known:
        raise UsageError(f"no model library {library!r}; choose one of {', '.join(known)}")
    for candidate in [library] if library else known:
        if short in known[candidate]:
            return candidate, short
    close = get_close_matches(short, {model for models in known.values() for model in models}, n=3)
    advice = f"did you mean {', '.join(close)}?" if close else "`edgeclf models` lists those that suit an edge device"
    raise UsageError(f"neither timm nor torchvision has a model {short!r}; {advice}")


def pixels_from_config(config: Mapping[str, Any]) -> Pixels:
    """timm's data config -> Pixels, with the sizes that timm's evaluation transform computes from it."""
    height, width = config["input_size"][1:]
    if config.get("crop_border_pixels"):
        raise UsageError("this backbone trims a border before the resize, which the pixel contract doesn't know")
    mode, crop_pct = config.get("crop_mode") or "center", config["crop_pct"]
    resize_px = (math.floor(height / crop_pct), math.floor(width / crop_pct))
    padding = (0, 0, 0)
    if mode == "squash":
        rule = "exact"
    elif mode == "border":
        rule = "fit"
        padding = tuple(round(255 * value) for value in config["mean"])
    else:
        rule = "shorter" if resize_px[0] == resize_px[1] else "cover"
    if "resize_px" in config:  # torchvision states it outright
        resize_px = config["resize_px"]
    return Pixels(rule, resize_px, (height, width), config["interpolation"], padding)  # type: ignore[arg-type]


def reference_transform(config: Mapping[str, Any]) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """The library's own evaluation transform up to the uint8 picture, to compare the runtime's pixels with."""
    if "resize_px" in config:
        from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

        transform = Compose(
            [
                Resize(config["resize_px"][0], InterpolationMode(config["interpolation"])),
                CenterCrop(config["input_size"][1:]),
            ]
        )
    else:
        from timm.data import create_transform

        keys = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
        # normalize=False ends with a uint8 tensor (3, H, W)
        whole = create_transform(**{key: config[key] for key in keys if key in config}, normalize=False)
        return lambda image: np.ascontiguousarray(whole(image).permute(1, 2, 0).numpy())
    return lambda image: np.asarray(transform(image))


def _find_weights(library: str, name: str, weights: str, seed: int) -> tuple[State | None, str]:
    if weights == "random":
        return None, f"random, seed {seed}"
    if weights in PACKAGES:
        return load_package(weights, name)
    if weights == "hub":
        return _load_from_hub(library, name)
    if library == "timm" and "/" not in weights and not Path(weights).suffix:
        raise UsageError(f"no weights {weights!r}; give hub, random, a file, or a package: {', '.join(PACKAGES)}")
    return load_file(Path(weights))


def _load_from_hub(library: str, name: str) -> tuple[State, str]:
    """The published weights. Whatever stops the fetch, the message names the ways without a network."""
    try:
        if library == "timm":
            import timm

            module = timm.create_model(name, pretrained=True)
            config = module.pretrained_cfg
            origin = f"hub:{config.get('hf_hub_id') or config.get('url')}"
        else:
            from torchvision import models

            published = models.get_model_weights(name).DEFAULT
            module = models.get_model(name, weights=published)
            origin = f"hub:torchvision {published}"
    except (OSError, RuntimeError, ValueError, LookupError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"the published weights of {name} can't be had ({reason:.120}); give --weights FILE, "
            f"a package such as {next(iter(PACKAGES))} with --model tf_efficientnet_lite0, or --weights random"
        ) from error
    return module.state_dict(), origin


def _count_classes(library: str, name: str, state: State) -> int | None:
    """The classes of a state dict, from the shape of its head; None where the head can't be told."""
    if library == "timm":
        import timm

        head = timm.get_pretrained_cfg(name, allow_unregistered=True)
        names = head.classifier if head is not None else None
        keys = [names] if isinstance(names, str) else list(names or ())
        shapes = [state[f"{key}.weight"].shape for key in keys if f"{key}.weight" in state]
    else:
        shapes = [tensor.shape for key, tensor in state.items() if key.endswith(".weight")][-1:]
    return int(shapes[0][0]) if shapes else None


def _output_classes(library: str, module: torch.nn.Module) -> int:
    if library == "timm":
        return int(module.num_classes)  # type: ignore[arg-type]
    weights = [p for p in module.parameters() if p.dim() in (2, 4)]
    return int(weights[-1].shape[0])


def _takes_img_size(name: str) -> bool:
    """True for timm models whose weights depend on the input size (ViT and its kin)."""
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(config is not None and config.fixed_input_size)


def _data_config(library: str, name: str, module: torch.nn.Module, img_size: int | None) -> dict[str, Any]:
    """timm's data config of the module; torchvision's evaluation transform in the same form."""
    if library == "timm":
        from timm.data import resolve_model_data_config

        size = {"img_size": img_size} if img_size is not None else {}
        config: dict[str, Any] = resolve_model_data_config(module, args=size)
        return config
    from torchvision import models

    preset = models.get_model_weights(name).DEFAULT.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    if img_size is not None:
        crop, resize = img_size, round(img_size * resize / crop)
    return {
        "input_size": (3, crop, crop),
        "resize_px": (resize, resize),
        "crop_pct": crop / resize,
        "crop_mode": "center",
        "interpolation": preset.interpolation.value,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
    }


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
