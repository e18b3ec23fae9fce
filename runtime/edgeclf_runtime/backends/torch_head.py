"""The head of a torch module, and the features that it takes. Nothing is imported here before a module is there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    import torch


def head_of(module: torch.nn.Module, sample: torch.Tensor) -> torch.nn.Module:
    """The linear layer whose output is the module's own.

    `sample` is run once. Raises UsageError where the module ends otherwise.
    """
    import torch

    made: list[tuple[torch.nn.Module, torch.Tensor]] = []
    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, _, output: made.append((layer, output))) for layer in layers]
    try:
        with torch.inference_mode():
            output = module(sample)
    finally:
        for hook in hooks:
            hook.remove()
    head = next((layer for layer, found in made if found is output), None)  # other threads may have run it, too
    if head is None:
        raise UsageError(
            "this network does not end in a linear layer, so it has no features before its head; leave --features out"
        )
    return head


def run_with_features(
    module: torch.nn.Module, head: torch.nn.Module, batch: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the module gives for the batch, and what its head took for that."""
    taken: list[torch.Tensor] = []
    own = threading.get_ident()

    def listen(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if threading.get_ident() == own:  # a hook hears of every thread's run
            taken.append(inputs[0])

    hook = head.register_forward_pre_hook(listen)
    try:
        output = module(batch)
    finally:
        hook.remove()
    return output, taken[-1]
