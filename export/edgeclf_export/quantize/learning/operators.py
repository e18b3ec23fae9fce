"""ONNX operators of classifiers as torch functions, differentiable: what `TorchGraph` runs a graph with.

Each takes its inputs (tensors; None where one is left out) and its attributes, as the ONNX specification names them:
https://onnx.ai/onnx/operators/. Those of integers compute shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Inputs = Sequence[Any]
Attributes = Mapping[str, Any]
Operator = Callable[[Inputs, Attributes], Any]


class NoTorchForm(Exception):
    """What the graph holds and no function here computes: an operator, or a use of one."""


def operators() -> dict[str, Operator]:
    """Each operator's function by its name. Those of Q/DQ are not among them."""
    import torch
    from torch.nn import functional

    return {
        "Add": lambda x, a: x[0] + x[1],
        "Sub": lambda x, a: x[0] - x[1],
        "Mul": lambda x, a: x[0] * x[1],
        "Div": lambda x, a: x[0] / x[1],
        "Pow": lambda x, a: x[0] ** x[1],
        "Sqrt": lambda x, a: x[0].sqrt(),
        "Erf": lambda x, a: x[0].erf(),
        "Tanh": lambda x, a: x[0].tanh(),
        "Relu": lambda x, a: x[0].relu(),
        "LeakyRelu": lambda x, a: functional.leaky_relu(x[0], a.get("alpha", 0.01)),
        "Sigmoid": lambda x, a: x[0].sigmoid(),
        "HardSigmoid": lambda x, a: (x[0] * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1),
        "HardSwish": lambda x, a: functional.hardswish(x[0]),
        "Gelu": lambda x, a: functional.gelu(x[0], approximate=_text(a.get("approximate", b"none"))),
        "Clip": _clip,
        "Softmax": lambda x, a: x[0].softmax(a.get("axis", -1)),
        "Conv": _convolve,
        "MatMul": lambda x, a: x[0] @ x[1],
        "Gemm": _gemm,
        "BatchNormalization": lambda x, a: functional.batch_norm(
            x[0], x[3], x[4], x[1], x[2], eps=a.get("epsilon", 1e-5)
        ),
        "LayerNormalization": _layer_norm,
        "GlobalAveragePool": lambda x, a: x[0].mean(tuple(range(2, x[0].dim())), keepdim=True),
        "AveragePool": _average_pool,
        "MaxPool": _max_pool,
        "ReduceMean": _mean,
        "Cast": lambda x, a: x[0].to(_dtype(a["to"])),
        "Transpose": lambda x, a: x[0].permute(*a.get("perm", reversed(range(x[0].dim())))),
        "Reshape": _reshape,
        "Flatten": _flatten,
        "Squeeze": lambda x, a: x[0].squeeze(_numbers(x[1])) if len(x) > 1 else x[0].squeeze(),
        "Unsqueeze": _unsqueeze,
        "Concat": lambda x, a: torch.cat(tuple(x), a["axis"]),
        "Split": _split,
        "Slice": _slice,
        "Gather": _gather,
        "Expand": lambda x, a: x[0].expand(np.broadcast_shapes(tuple(x[0].shape), _numbers(x[1]))),
        "Pad": _pad,
        "Shape": lambda x, a: torch.tensor(x[0].shape[a.get("start", 0) : a.get("end")]),
        "Range": lambda x, a: torch.arange(*(each.item() for each in x)),
        "ConstantOfShape": lambda x, a: torch.full(_numbers(x[0]), a["value"].item() if "value" in a else 0.0),
        "Identity": lambda x, a: x[0],
    }


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _numbers(tensor: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in tensor.reshape(-1).tolist())


def _dtype(number: int) -> Any:
    import onnx
    import torch

    return torch.from_numpy(np.zeros(0, onnx.helper.tensor_dtype_to_np_dtype(number))).dtype


def _clip(x: Inputs, _: Attributes) -> Any:
    return x[0].clamp(*[each if each is None else each.item() for each in (*x[1:3], None, None)[:2]])


def _pads(tensor: Any, attributes: Attributes, value: float = 0.0) -> Any:
    """The input with the padding of a convolution or pooling around it."""
    from torch.nn import functional

    spatial = tensor.dim() - 2
    pads = list(attributes.get("pads", [0] * 2 * spatial))
    if _text(attributes.get("auto_pad", b"NOTSET")) in ("SAME_UPPER", "SAME_LOWER"):
        raise NoTorchForm("auto_pad")
    if not any(pads):
        return tensor
    ends = [amount for place in reversed(range(spatial)) for amount in (pads[place], pads[place + spatial])]
    return functional.pad(tensor, ends, value=value)


def _convolve(x: Inputs, attributes: Attributes) -> Any:
    from torch.nn import functional

    spatial = x[0].dim() - 2
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[spatial - 1]
    pads = list(attributes.get("pads", [0] * 2 * spatial))
    even = pads[:spatial] == pads[spatial:] and "auto_pad" not in attributes
    return convolve(
        x[0] if even else _pads(x[0], attributes),
        x[1],
        x[2] if len(x) > 2 else None,
        stride=tuple(attributes.get("strides", [1] * spatial)),
        padding=tuple(pads[:spatial]) if even else 0,
        dilation=tuple(attributes.get("dilations", [1] * spatial)),
        groups=attributes.get("group", 1),
    )


def _gemm(x: Inputs, attributes: Attributes) -> Any:
    left = x[0].T if attributes.get("transA") else x[0]
    right = x[1].T if attributes.get("transB") else x[1]
    product = attributes.get("alpha", 1.0) * (left @ right)
    return product if len(x) < 3 else product + attributes.get("beta", 1.0) * x[2]


def _average_pool(x: Inputs, attributes: Attributes) -> Any:
    from torch.nn import functional

    if any(attributes.get("pads", ())) and not attributes.get("count_include_pad"):
        raise NoTorchForm("average pooling that does not count its padding")
    size = tuple(attributes["kernel_shape"])
    return functional.avg_pool2d(
        _pads(x[0], attributes),
        size,
        tuple(attributes.get("strides", (1,) * len(size))),
        0,
        bool(attributes.get("ceil_mode")),
    )


def _max_pool(x: Inputs, attributes: Attributes) -> Any:
    from torch.nn import functional

    size = tuple(attributes["kernel_shape"])
    padded = _pads(x[0], attributes, value=-np.inf)
    strides = tuple(attributes.get("strides", (1,) * len(size)))
    return functional.max_pool2d(padded, size, strides, 0, 1, bool(attributes.get("ceil_mode")))


def _layer_norm(x: Inputs, attributes: Attributes) -> Any:
    from torch.nn import functional

    shape = list(x[0].shape[attributes.get("axis", -1) % x[0].dim() :])
    return functional.layer_norm(x[0], shape, x[1], x[2] if len(x) > 2 else None, attributes.get("epsilon", 1e-5))


def _mean(x: Inputs, attributes: Attributes) -> Any:
    axes = _numbers(x[1]) if len(x) > 1 else tuple(attributes.get("axes", range(x[0].dim())))
    return x[0].mean(axes, keepdim=bool(attributes.get("keepdims", 1)))


def _reshape(x: Inputs, attributes: Attributes) -> Any:
    wanted = _numbers(x[1])
    if not attributes.get("allowzero"):
        wanted = tuple(x[0].shape[place] if size == 0 else size for place, size in enumerate(wanted))
    return x[0].reshape(wanted)


def _flatten(x: Inputs, attributes: Attributes) -> Any:
    sizes = x[0].shape
    axis = attributes.get("axis", 1) % (x[0].dim() + 1)
    return x[0].reshape(int(np.prod(sizes[:axis])), int(np.prod(sizes[axis:])))


def _unsqueeze(x: Inputs, _: Attributes) -> Any:
    tensor, axes = x[0], _numbers(x[1])
    for axis in sorted(axis % (x[0].dim() + len(axes)) for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return tensor


def _split(x: Inputs, attributes: Attributes) -> Any:
    axis = attributes.get("axis", 0)
    if len(x) > 1:
        return x[0].split(_numbers(x[1]), axis)
    return x[0].tensor_split(attributes["num_outputs"], axis)


def _slice(x: Inputs, _: Attributes) -> Any:
    starts, ends = _numbers(x[1]), _numbers(x[2])
    axes = _numbers(x[3]) if len(x) > 3 and x[3] is not None else tuple(range(len(starts)))
    steps = _numbers(x[4]) if len(x) > 4 else (1,) * len(starts)
    if min(steps) < 1:
        raise NoTorchForm("slices that run backwards")
    places = [slice(None)] * x[0].dim()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x[0].shape[axis]  # ONNX takes the largest integer for "to the end", which torch warns of
        places[axis] = slice(max(start, -size), min(end, size), step)
    return x[0][tuple(places)]


def _gather(x: Inputs, attributes: Attributes) -> Any:
    axis = attributes.get("axis", 0) % x[0].dim()
    found = x[0].index_select(axis, x[1].reshape(-1) % x[0].shape[axis])
    return found.reshape(*x[0].shape[:axis], *x[1].shape, *x[0].shape[axis + 1 :])


def _pad(x: Inputs, attributes: Attributes) -> Any:
    if _text(attributes.get("mode", b"constant")) != "constant" or len(x) > 3:
        raise NoTorchForm("padding other than with one value on all axes")
    from torch.nn import functional

    amounts, axes = _numbers(x[1]), x[0].dim()
    ends = [amount for place in reversed(range(axes)) for amount in (amounts[place], amounts[place + axes])]
    return functional.pad(x[0], ends, value=0.0 if len(x) < 3 or x[2] is None else x[2].item())
