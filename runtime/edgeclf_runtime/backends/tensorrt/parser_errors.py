"""Why TensorRT's parser refuses a graph, in plain words: the operator, the node, and what to put in its place."""

from __future__ import annotations

from typing import Any

# Operators that TensorRT's ONNX parser does not import, with what computes the same: docs/operators.md of onnx-tensorrt
# 10.1, and what `OnnxParser.supports_operator` of TensorRT-RTX 1.7 denies.
_BITS = "multiply or divide by powers of two, outside of the network"
_TRAINING = "export in evaluation mode, without losses and random numbers"
_OPTIONAL = "tensors that are always there"
_TEXT = "leave text to the caller"
_WINDOW = "a constant that is computed beforehand"
ALTERNATIVES = {
    "AffineGrid": "MatMul with a constant grid",
    "Bernoulli": _TRAINING,
    "BitShift": "multiply or divide by a power of two",
    "BitwiseAnd": _BITS,
    "BitwiseNot": _BITS,
    "BitwiseOr": _BITS,
    "BitwiseXor": _BITS,
    "BlackmanWindow": _WINDOW,
    "CenterCropPad": "Slice or Pad of fixed sizes",
    "Col2Im": "ConvTranspose or DepthToSpace",
    "Compress": "Gather with fixed indices",
    "ConcatFromSequence": "Concat with its inputs named one by one",
    "ConvInteger": "QuantizeLinear and DequantizeLinear around Conv",
    "DFT": "MatMul with a constant matrix",
    "DeformConv": "Conv, or a plugin of TensorRT",
    "Det": "compute the determinant outside of the network",
    "DynamicQuantizeLinear": "static scales: QuantizeLinear and DequantizeLinear with constants",
    "HammingWindow": _WINDOW,
    "HannWindow": _WINDOW,
    "ImageDecoder": "take pixels: the runtime decodes",
    "MatMulInteger": "QuantizeLinear and DequantizeLinear around MatMul",
    "MaxRoiPool": "RoiAlign",
    "MaxUnpool": "Resize",
    "MelWeightMatrix": _WINDOW,
    "Multinomial": "take the most probable class",
    "NegativeLogLikelihoodLoss": _TRAINING,
    "Optional": _OPTIONAL,
    "OptionalGetElement": _OPTIONAL,
    "OptionalHasElement": _OPTIONAL,
    "QLinearConv": "QuantizeLinear and DequantizeLinear around Conv",
    "QLinearMatMul": "QuantizeLinear and DequantizeLinear around MatMul",
    "RegexFullMatch": _TEXT,
    "STFT": "Conv with constant kernels",
    "SequenceAt": "Split with outputs named one by one",
    "SequenceConstruct": "Concat or Stack",
    "SequenceEmpty": "Concat or Stack",
    "SequenceErase": "Split with outputs named one by one",
    "SequenceInsert": "Concat or Stack",
    "SequenceLength": "Split with outputs named one by one",
    "SequenceMap": "the operator on one tensor",
    "SoftmaxCrossEntropyLoss": _TRAINING,
    "SplitToSequence": "Split with outputs named one by one",
    "StringConcat": _TEXT,
    "StringNormalizer": _TEXT,
    "StringSplit": _TEXT,
    "TfIdfVectorizer": _TEXT,
    "Unique": "compute it outside of the network",
}
_REASONS = {  # of tensorrt.ErrorCode, by name
    "UNSUPPORTED_NODE": "TensorRT has no such operator",
    "UNSUPPORTED_NODE_ATTR": "TensorRT does not take this attribute",
    "UNSUPPORTED_NODE_INPUT": "TensorRT does not take this input",
    "UNSUPPORTED_NODE_DATATYPE": "TensorRT does not take this data type",
    "UNSUPPORTED_NODE_DYNAMIC": "TensorRT does not take a shape that varies here",
    "UNSUPPORTED_NODE_SHAPE": "TensorRT does not take this shape",
    "UNSUPPORTED_GRAPH": "TensorRT does not take this graph",
    "INVALID_NODE": "the node is not valid for this opset, or TensorRT has no such operator",
    "INVALID_GRAPH": "the graph is not valid",
    "MODEL_DESERIALIZE_FAILED": "it is not an ONNX file that TensorRT can read",
    "MEM_ALLOC_FAILED": "there is not enough memory",
}
_GENERIC_ALTERNATIVE = "write that part of the network with other operators"


def refusals(parser: Any) -> tuple[str, ...]:
    """A sentence for each error of a `tensorrt.OnnxParser`, in the parser's order."""
    return tuple(_sentence(parser.get_error(index)) for index in range(parser.num_errors))


def _sentence(error: Any) -> str:
    code = str(error.code()).rpartition(".")[2]
    operator, detail = error.node_operator(), error.desc().strip()
    reason = _REASONS.get(code, code)
    # the parser's own words are often a bare C++ condition
    reported = f" ({detail})" if detail not in ("", "false", "true") else ""
    if not operator:
        return f"{reason}{reported}"
    node = error.node_name() or f"number {error.node()}"
    instead = ALTERNATIVES.get(operator, _GENERIC_ALTERNATIVE)
    return f"operator {operator}, node {node}: {reason}{reported}; instead: {instead}"
