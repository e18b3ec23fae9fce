"""The network in training: normalisation, backbone, dropout and head, and which parameters learn at which rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeclf.training.loop.device import is_out_of_memory
from edgeclf_runtime.errors import BackendError, UsageError, one_line

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Network:
    """A backbone whose heads, the last layers, are new.

    Most have one. Distilled ones (EfficientFormer, RepViT, LeViT, DeiT) have two, whose logits they average.
    """

    module: torch.nn.Module
    heads: tuple[torch.nn.Linear | torch.nn.Conv2d, ...]
    drop: float

    @classmethod
    def of(cls, module: torch.nn.Module, classes: int, drop: float, seed: int) -> Network:
        """Finds the heads and gives them fresh weights from the seed. Raises UsageError where there are none."""
        import torch

        heads = _find_heads(module, classes)
        if not heads:
            raise UsageError(
                "this backbone does not end in a linear layer or a convolution; choose another, see `edgeclf models`"
            )
        generator = torch.Generator().manual_seed(seed)
        for head in heads:
            for parameter in head.parameters():
                if parameter.ndim > 1:
                    torch.nn.init.normal_(parameter, std=0.01, generator=generator)
                else:
                    torch.nn.init.zeros_(parameter)
            _silence_dropout_before(head, module)
        return cls(module, heads, drop)

    @property
    def has_batch_norm(self) -> bool:
        import torch

        return any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in self.module.modules())

    def sync_batch_norm(self) -> None:
        """Lets each BatchNorm learn from the images of all processes; on GPUs only, and untried there.

        By timm: torch's own drops the activation that timm's layers hold.
        """
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(self.module)

    @property
    def head_parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for head in self.heads for parameter in head.parameters()]

    @property
    def backbone_parameters(self) -> list[torch.nn.Parameter]:
        head = {id(parameter) for parameter in self.head_parameters}
        return [parameter for parameter in self.module.parameters() if id(parameter) not in head]

    def is_heads_on_features(self, images: torch.Tensor) -> bool:
        """Whether the mean of the heads on the features of (N, 3, H, W) images is the whole network's output.

        Raises UsageError where it can't take images of this size.
        """
        import torch

        self.module.eval()
        with torch.inference_mode():
            try:
                features, whole = self._features_and_logits(images)
            except (RuntimeError, AssertionError, ValueError) as error:
                if isinstance(error, RuntimeError) and is_out_of_memory(error):
                    raise BackendError("out of memory with 2 images; try a smaller --img-size") from error
                height, width = images.shape[2:]
                raise UsageError(
                    f"this backbone can't take images of {height}x{width}; try another --img-size ({one_line(error)})"
                ) from error
            if len(features) != len(self.heads) or any(len(part) != len(images) for part in features):
                return False
            part = self.classify_features(torch.cat(features, dim=1))
            return part.shape == whole.shape and torch.allclose(whole, part, rtol=1e-3, atol=1e-5)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised -> (N, features): what goes into the heads, side by side, dropout off."""
        import torch

        return torch.cat(self._features_and_logits(images)[0], dim=1)

    def _features_and_logits(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        seen: list[torch.Tensor] = []
        hooks = [head.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0])) for head in self.heads]
        try:
            logits = self.module(images)
        finally:
            for hook in hooks:
                hook.remove()
        return seen, logits

    def classify_features(self, features: torch.Tensor, drop: float = 0.0) -> torch.Tensor:
        """(N, features) -> (N, classes) logits, with this much dropout in front of the heads."""
        import torch

        widths = [int(head.weight.shape[1]) for head in self.heads]
        parts = torch.split(torch.nn.functional.dropout(features, drop), widths, dim=1)
        logits = [head(part).flatten(1) for head, part in zip(self.heads, parts, strict=True)]
        return torch.stack(logits).mean(dim=0)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised -> (N, classes) logits, dropout in front of the heads while the module trains."""
        import torch

        def drop(part: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (torch.nn.functional.dropout(inputs[0], self.drop, self.module.training),)

        hooks = [head.register_forward_pre_hook(drop) for head in self.heads]
        try:
            logits: torch.Tensor = self.module(images)
        finally:
            for hook in hooks:
                hook.remove()
        return logits

    def parameter_groups(
        self, strategy: str, lr: float, weight_decay: float, layer_decay: float | None
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer, each with its rate; biases and norms (one dimension) don't decay."""
        groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for parameter, rate in self._rated(strategy, lr, layer_decay):
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def _rated(self, strategy: str, lr: float, layer_decay: float | None) -> Iterator[tuple[torch.nn.Parameter, float]]:
        backbone = self.backbone_parameters
        if strategy == "discriminative" and layer_decay is not None:
            yield from self._layer_decayed(lr, layer_decay)
            return
        for place, parameter in enumerate(backbone):
            early = place < len(backbone) // 2
            yield parameter, (lr / 100 if early else lr / 10) if strategy == "discriminative" else lr
        for parameter in self.head_parameters:
            yield parameter, lr

    def _layer_decayed(self, lr: float, decay: float) -> Iterator[tuple[torch.nn.Parameter, float]]:
        """timm's layer-wise decay (BEiT, arXiv:2106.08254): a layer learns `decay` times as fast as the next one."""
        from timm.optim import param_groups_layer_decay

        if not hasattr(self.module, "group_matcher"):
            raise UsageError("layer decay needs a timm backbone; use the discriminative strategy without it")
        for group in param_groups_layer_decay(self.module, weight_decay=0.0, layer_decay=decay):
            for parameter in group["params"]:
                yield parameter, lr * group["lr_scale"]


def _find_heads(module: torch.nn.Module, classes: int) -> tuple[torch.nn.Linear | torch.nn.Conv2d, ...]:
    """The layers that timm's config names, else the last layer; those among them that give one logit a class."""
    import torch

    layers = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d)) and part.weight.shape[0] == classes
    }
    config: Any = getattr(module, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    found = [layers[name] for name in ((named,) if isinstance(named, str) else named) if name in layers]
    return tuple(found or list(layers.values())[-1:])


def _silence_dropout_before(head: torch.nn.Module, module: torch.nn.Module) -> None:
    """Switches the architecture's own dropout right in front of its head off: `drop` stands in its place."""
    import torch

    parts = [part for part in module.modules() if not list(part.children())]
    for part in reversed(parts[: parts.index(head)]):
        if list(part.parameters()):
            return
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
