"""The graph of a portable bundle in ONNX Runtime on the CPU: for its proof only, not to run on a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeclf_export.graph.editing import constants_of, described, inferred, replace_nodes
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ort import MODEL, OrtEngine, import_onnxruntime
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.errors import BackendError, one_line
from edgeclf_runtime.session import Session

ABOUT = "proven: the graph, by ONNX Runtime on the CPU; the engine's own proof comes with `edgeclf build` on the device"


def open_graph(bundle: Bundle) -> Session:
    """A session on the ONNX file of a portable bundle, which the runtime itself refuses to open.

    It computes in fp32 on values of the graph's precision, whatever the CPU supports: the same proof on every machine.
    """
    model = bundle.read(MODEL)
    refuse_external_data(model, f"{bundle.path}/{MODEL}")
    session = literal_session(widened(model) if bundle.manifest.weights_precision == "bf16" else model)
    return Session(bundle, OrtEngine(session, import_onnxruntime().__version__, SessionOptions(), "fp32"))


def literal_session(model: bytes) -> Any:
    """An ONNX Runtime session that quantizes nothing beyond the graph's own Q/DQ.

    ONNX Runtime would give the biases beside Q/DQ pairs an int8 form of its own, which TensorRT does not. In fp16 the
    scale of that form, input's times weights', underflows: measured, 8 % agreement where the graph as it is has 94 %.
    """
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # errors are raised
    settings.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no narrower base
        raise BackendError(
            f"onnxruntime {onnxruntime.__version__} can't run the graph for its proof ({one_line(error)}); update it "
            "with: pip install -U onnxruntime"
        ) from error


def widened(data: bytes) -> bytes:
    """A bf16 graph whose every node computes in fp32 on bf16 values and rounds its results to bf16.

    That is what ONNX Runtime makes of fp16 by itself on a CPU that has no fp16; for bf16 it has few kernels and no such
    rewriting.
    """
    import onnx

    model = inferred(onnx.load_from_string(data))
    nodes = list(_widened_nodes(model.graph))
    del model.graph.value_info[:]
    replace_nodes(model.graph, nodes)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _widened_nodes(graph: Any) -> Iterator[Any]:
    from onnx import TensorProto, helper

    halves = {name for name, each in described(graph).items() if each.elem_type == TensorProto.BFLOAT16}
    halves |= {name for name, item in constants_of(graph).items() if item.data_type == TensorProto.BFLOAT16}
    whole: set[str] = set()
    for node in graph.node:
        if node.op_type in ("Cast", "Constant", "Shape"):  # they copy values or read shapes: nothing is computed
            yield node
            continue
        for i, name in enumerate(node.input):
            if name not in halves:
                continue
            if name not in whole:
                whole.add(name)
                yield helper.make_node("Cast", [name], [f"{name}_wide"], to=TensorProto.FLOAT)
            node.input[i] = f"{name}_wide"
        results = [name for name in node.output if name in halves]
        node.output[:] = [f"{name}_unrounded" if name in halves else name for name in node.output]
        yield node
        for name in results:
            yield helper.make_node("Cast", [f"{name}_unrounded"], [name], to=TensorProto.BFLOAT16)
