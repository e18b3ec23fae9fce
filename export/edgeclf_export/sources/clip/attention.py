"""Attention for deployment: open_clip's towers with the batch as the first dimension throughout.

`torch.nn.MultiheadAttention` computes on (length, batch, width). In ONNX that is a transpose before and after each
layer, which costs time; in fp16 ONNX Runtime 1.32 crashes on them (it fuses the transpose into a product for which its
CPU provider has no fp16 kernel). The weights are the same ones, and the proof compares with the original.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def with_plain_attention(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of `module` that shares its tensors, each `MultiheadAttention` replaced by one without transposes."""
    import torch

    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    copied = copy.deepcopy(module, shared)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.MultiheadAttention) and _is_plain(child):
                setattr(parent, name, _plain(child))
    return copied.eval()


def _is_plain(attention: torch.nn.MultiheadAttention) -> bool:
    """Whether batches come first, one matrix projects queries, keys and values, and they have no bias of their own."""
    return bool(attention.batch_first and attention.in_proj_weight is not None and attention.bias_k is None)


def _plain(attention: torch.nn.MultiheadAttention) -> torch.nn.Module:
    import torch
    from torch.nn.functional import linear, scaled_dot_product_attention

    class Attention(torch.nn.Module):
        """(N, length, width) queries, keys and values -> (N, length, width), None."""

        def __init__(self) -> None:
            super().__init__()
            self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
            self.out_proj = attention.out_proj

        def forward(
            self,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            need_weights: bool = False,
            attn_mask: torch.Tensor | None = None,
        ) -> tuple[torch.Tensor, None]:
            if query is key and key is value:
                parts = linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
            else:
                weights = self.in_proj_weight.chunk(3)
                biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
                inputs = (query, key, value)
                parts = tuple(linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
            queries, keys, values = (_by_head(part, attention.num_heads) for part in parts)
            found = scaled_dot_product_attention(queries, keys, values, attn_mask=attn_mask)
            return self.out_proj(found.transpose(1, 2).flatten(2)), None

    return Attention()


def _by_head(part: torch.Tensor, heads: int) -> torch.Tensor:
    """(N, length, width) -> (N, heads, length, width / heads)"""
    batch, length, width = part.shape
    return part.reshape(batch, length, heads, width // heads).transpose(1, 2)
