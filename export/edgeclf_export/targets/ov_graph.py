"""An ONNX graph as OpenVINO's own model, prepared so that the engine fuses what it can."""

from __future__ import annotations

from typing import Any

from edgeclf_export.graph.onnx_graph import FEATURES_NAME
from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.errors import UsageError

_AFTER_THE_HEAD = ("Add", "Convert", "Reshape", "Squeeze", "FakeQuantize")
_OF_WEIGHTS = ("Convert", "Multiply", "Subtract", "FakeQuantize", "Reshape", "Transpose")


def read(onnx: bytes) -> Any:
    """An ONNX file as openvino.Model, after its own conversion passes, pixels normalised before they are transposed.

    SiLU and Hardswish become one operation: in their parts NNCF quantizes each of them, and the engine then can't fuse
    them into the convolution before (EfficientNet-B0 int8: 12.0 to 8.0 ms). Raises RuntimeError.
    """
    core = openvino_core()
    from openvino._offline_transformations import apply_moc_transformations

    network = core.read_model(model=onnx)
    apply_moc_transformations(network, cf=True)
    _transpose_after_normalising(network)
    return network


def _transpose_after_normalising(network: Any) -> None:
    """Makes NHWC to NCHW the last step before the network, where the engine drops the transpose.

    It computes channels-last: transposed before they are scaled, pixels were copied twice (0.2 of MobileNetV3's 4 ms).
    A graph that normalises in another way stays as it is.
    """
    from openvino import opset13 as ops

    def follower(node: Any, kind: str) -> Any:
        users = [entry.get_node() for entry in node.output(0).get_target_inputs()]
        return users[0] if len(users) == 1 and users[0].get_type_name() == kind else None

    node = network.input(0).get_node()
    chain = []
    for kind in ("Convert", "Transpose", "Multiply", "Add"):
        if (node := follower(node, kind)) is None:
            return
        chain.append(node)
    cast, turn, scale, shift = chain
    constants = [step.input_value(1).get_node() for step in (scale, shift)]
    if any(node.get_type_name() != "Constant" or list(node.shape)[-3:] != [3, 1, 1] for node in constants):
        return
    factor, offset = (ops.constant(constant.data.reshape(1, 1, 1, -1)) for constant in constants)
    normalised = ops.add(ops.multiply(cast, factor), offset)
    turned = ops.transpose(normalised, turn.input_value(1))
    turned.set_friendly_name(shift.get_friendly_name())
    for entry in shift.output(0).get_target_inputs():
        entry.replace_source_output(turned.output(0))
    network.validate_nodes_and_infer_types()


def with_features(network: Any) -> None:
    """Gives the network a second output: what its last product takes, before it is quantized.

    Raises UsageError where the network does not end in a product.
    """
    port = network.output(0).get_node().input_value(0)
    while (node := port.get_node()).get_type_name() != "MatMul":
        entries = [entry for entry in node.input_values() if not _is_constant(entry.get_node())]
        if node.get_type_name() not in _AFTER_THE_HEAD or len(entries) != 1:
            raise UsageError("this network does not end in a linear layer, so it has no features; leave --features out")
        (port,) = entries
    features = node.input_value(0)
    while features.get_node().get_type_name() == "FakeQuantize":
        features = features.get_node().input_value(0)
    (added,) = network.add_outputs([features])
    added.get_tensor().add_names({FEATURES_NAME})
    network.validate_nodes_and_infer_types()


def _is_constant(node: Any) -> bool:
    """Whether it follows from constants alone, as weights do that are stored in fewer bits."""
    if node.get_type_name() == "Constant":
        return True
    return node.get_type_name() in _OF_WEIGHTS and all(_is_constant(each.get_node()) for each in node.input_values())
