"""OpenVINO's INT8 by NNCF, with ranges that keep confidences: NNCF's default clips, which changes softmax scores.

Measured: NNCF's averaged ranges left top-1 as it was and moved logits by 0.94 of their range; plain minima and maxima
did not. Weights are in 7 bits (OverflowFix.ENABLE) for the reason given in `ort_quantizer`.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.batches import batched
from edgeclf_export.graph.layers import WEIGHTED, family
from edgeclf_export.targets.ov_graph import read
from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.backends.ov import import_openvino
from edgeclf_runtime.errors import BackendError, one_line
from edgeclf_runtime.machine.signal_stack import signal_stack_kept

METHODS = ("min-max", "percentile")


def quantize(
    model: bytes, pixels: NDArray[np.generic], method: str, *, corrected: bool, leave: Collection[str] = ()
) -> Any:
    """The network as an openvino.Model with FakeQuantize where it is to be int8.

    Parameters
    ----------
    pixels
        Calibration images as the graph takes them.
    method
        Of the ranges: "min-max" or "percentile".
    corrected
        Whether NNCF corrects biases, with images through the quantized network. Its fast form gives a layer the mean of
        its inputs, and left two thirds of the mean error of two convolutions (`test_ov_quantizer`). It serves
        transformers: in a matrix product means follow from means, and the other way took ViT-tiny 3.5 times as long.
    leave
        ONNX nodes that stay in float.
    """
    import onnx

    nncf = import_nncf()
    network = read(model)
    attends = family(onnx.load_from_string(model)) == "transformer"
    first = network.inputs[0].partial_shape[0]
    batches = batched(pixels, first.get_length() if first.is_static else None, 1)
    names = _openvino_names(network, onnx.load_from_string(model), leave)
    with _quiet(), signal_stack_kept():  # NNCF has OpenVINO cores of its own
        try:
            return nncf.quantize(
                network,
                nncf.Dataset(batches),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(batches),
                fast_bias_correction=attends,
                model_type=nncf.ModelType.TRANSFORMER if attends else None,
                ignored_scope=nncf.IgnoredScope(names=names) if names else None,
                advanced_parameters=_parameters(method, corrected),
            )
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"NNCF can't quantize this model: {one_line(error)}") from error


def import_nncf() -> Any:
    """The module, which replaces its telemetry by a stub where OpenVINO's can't be imported. Raises BackendError."""
    import_openvino()  # hides openvino_telemetry
    try:
        import nncf
    except ImportError as error:
        raise missing_engine("nncf", "int8", error) from error
    return nncf


def _parameters(method: str, corrected: bool) -> Any:
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        RangeEstimatorParametersSet,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    ranges = RangeEstimatorParametersSet.MINMAX
    if method == "percentile":
        # the widest of the images' own tails: their mean cuts half of the images, and cost 22 points where it was tried
        low = StatisticsCollectorParameters(StatisticsType.QUANTILE, AggregatorType.MIN, quantile_outlier_prob=1e-4)
        high = StatisticsCollectorParameters(StatisticsType.QUANTILE, AggregatorType.MAX, quantile_outlier_prob=1e-4)
        ranges = RangeEstimatorParameters(min=low, max=high)
    return AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.ENABLE,
        disable_bias_correction=not corrected,
        activations_range_estimator_params=ranges,
    )


def _openvino_names(network: Any, model: Any, leave: Collection[str]) -> list[str]:
    """OpenVINO's names of these ONNX nodes; a convolution may precede the addition that has the node's output."""
    outputs = {node.output[0]: node.name for node in model.graph.node if node.op_type in WEIGHTED}
    kinds = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
    names = []
    for operation in network.get_ops():
        outputs_here = {name for output in operation.outputs() for name in output.get_names()}
        if not any(outputs.get(name) in leave for name in outputs_here & outputs.keys()):
            continue
        place: Any = operation
        while place.get_type_name() not in kinds and place.inputs():
            place = place.input_value(0).get_node()
        names.append(place.get_friendly_name())
    return names


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences NNCF's progress bars and log; errors are raised, not printed."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
