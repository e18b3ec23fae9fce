"""The network in training: normalisation, backbone, dropout and head, and which parameters learn at which rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Network:
    """A backbone whose last linear layer, the head, is new."""

    module: torch.nn.Module
    head: torch.nn.Linear
    head_name: str
    drop: float

    @classmethod
    def of(cls, module: torch.nn.Module, classes: int, drop: float, seed: int) -> Network:
        """Finds the head and gives it fresh weights from the seed. Raises UsageError where it is not linear."""
        import torch

        linear = [(name, part) for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
        if not linear or linear[-1][1].out_features != classes:
            raise UsageError("this backbone has no linear layer as its head; choose another, see `edgeclf models`")
        name, head = linear[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            torch.nn.init.normal_(head.weight, std=0.01)
            torch.nn.init.zeros_(head.bias)
        return cls(module, head, name, drop)

    @property
    def backbone_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        head = {id(parameter) for parameter in self.head.parameters()}
        return [(name, p) for name, p in self.module.named_parameters() if id(p) not in head]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised -> (N, features): what goes into the head, dropout off."""
        seen: list[torch.Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
        try:
            self.module(images)
        finally:
            hook.remove()
        return seen[0]

    def classify_features(self, features: torch.Tensor) -> torch.Tensor:
        """(N, features) -> logits, with dropout while the module trains."""
        import torch

        logits: torch.Tensor = self.head(torch.nn.functional.dropout(features, self.drop, self.module.training))
        return logits

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised -> (N, classes) logits, with dropout in front of the head while the module trains."""
        import torch

        hook = self.head.register_forward_pre_hook(
            lambda part, inputs: (torch.nn.functional.dropout(inputs[0], self.drop, self.module.training),)
        )
        try:
            logits: torch.Tensor = self.module(images)
        finally:
            hook.remove()
        return logits

    def parameter_groups(
        self, strategy: str, lr: float, weight_decay: float, layer_decay: float | None
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer, each with its rate; biases and norms (one dimension) don't decay."""
        rated = list(self._rated(strategy, lr, layer_decay))
        groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for parameter, rate in rated:
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "weight_decay": weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def _rated(self, strategy: str, lr: float, layer_decay: float | None) -> Iterator[tuple[torch.nn.Parameter, float]]:
        backbone = [p for _, p in self.backbone_parameters]
        if strategy == "discriminative" and layer_decay is not None:
            yield from self._layer_decayed(lr, layer_decay)
            return
        for place, parameter in enumerate(backbone):
            early = place < len(backbone) // 2
            yield parameter, (lr / 100 if early else lr / 10) if strategy == "discriminative" else lr
        for parameter in self.head.parameters():
            yield parameter, lr

    def _layer_decayed(self, lr: float, decay: float) -> Iterator[tuple[torch.nn.Parameter, float]]:
        """timm's layer-wise decay (BEiT, arXiv:2106.08254): a layer learns `decay` times as fast as the next one."""
        from timm.optim import param_groups_layer_decay

        if not hasattr(self.module, "group_matcher"):
            raise UsageError("layer decay needs a timm backbone; use the discriminative strategy without it")
        for group in param_groups_layer_decay(self.module, weight_decay=0.0, layer_decay=decay):
            for parameter in group["params"]:
                yield parameter, lr * group["lr_scale"]
