"""The optimizer of one phase, and the schedule of its learning rates."""

from __future__ import annotations

import math
from typing import Any

from edgeclf.training.config import Phase, TrainConfig
from edgeclf.training.loop.network import Network


def make_optimizer(config: TrainConfig, network: Network, phase: Phase) -> Any:
    """Over the head's parameters for a phase on features, else over all; norms and biases don't decay."""
    import torch

    if phase.on_features:
        groups: list[dict[str, Any]] = [
            {
                "params": [parameter],
                "weight_decay": config.weight_decay if parameter.ndim > 1 else 0.0,
                "lr": phase.lr,
            }
            for parameter in network.head_parameters
        ]
    else:
        groups = network.parameter_groups(config.strategy, phase.lr, config.weight_decay, config.layer_decay)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=phase.lr)
    return torch.optim.SGD(groups, lr=phase.lr, momentum=config.momentum, nesterov=config.momentum > 0)


def make_schedule(optimizer: Any, config: TrainConfig, steps: int, phase: Phase) -> Any:
    """Per step: cosine with linear warm-up, or OneCycle; per epoch: plateau."""
    from torch.optim import lr_scheduler

    total = max(2, steps * phase.epochs)
    if config.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=2)
    rates = [group["lr"] for group in optimizer.param_groups]
    if config.schedule == "onecycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=rates, total_steps=total + 1)
    warmup = min(int(config.warmup_epochs * steps), total // 2)

    def factor(step: int) -> float:  # of each group's own peak, however low that is
        if step < warmup:
            return 0.05 + 0.95 * step / warmup
        return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (total - warmup))

    return lr_scheduler.LambdaLR(optimizer, factor)
