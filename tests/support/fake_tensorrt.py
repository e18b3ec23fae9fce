"""A stand-in for the module `tensorrt` on a `FakeCudart`: plans hold their ONNX file, ONNX Runtime computes."""

from __future__ import annotations

import enum
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_cuda import FakeCudart

HEADER = b"fake" + bytes(20)


class FakeTensorRT:
    """The module `tensorrt`, as much of it as edgeclf uses. A plan is a header and the ONNX file.

    Attributes
    ----------
    touched
        What was made of it: "Builder", "Runtime". Empty where nobody started TensorRT.
    wrong
        Outputs come out negated.
    build_errors, run_errors
        What is logged while a build, or an execution, fails.
    datatype
        What the inspector says that all layers compute in.
    """

    class ILogger:
        class Severity(enum.Enum):
            INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

        def __init__(self) -> None:
            pass

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        STRONGLY_TYPED = 1

    BuilderFlag = enum.Enum("BuilderFlag", "TF32 VERSION_COMPATIBLE")
    DataType = enum.Enum("DataType", "FLOAT HALF UINT8 BF16")
    HardwareCompatibilityLevel = enum.Enum("HardwareCompatibilityLevel", "NONE AMPERE_PLUS")
    LayerInformationFormat = enum.Enum("LayerInformationFormat", "JSON")
    LayerType = enum.Enum("LayerType", "CONVOLUTION DECONVOLUTION MATRIX_MULTIPLY CAST")
    MatrixOperation = enum.Enum("MatrixOperation", "NONE TRANSPOSE")
    MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
    ProfilingVerbosity = enum.Enum("ProfilingVerbosity", "DETAILED")
    TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")

    def __init__(self, cudart: FakeCudart, version: str = "10.3.0", numbers: bytes = bytes([10, 3, 0, 26])) -> None:
        self.cudart, self.__version__, self.numbers = cudart, version, numbers
        self.touched: list[str] = []
        self.wrong = False
        self.parse_errors: list[SimpleNamespace] = []
        self.build_errors: list[str] = []
        self.build_warnings: list[str] = []
        self.run_errors: list[str] = []
        self.datatype = "Row major linear FP32"
        self.configs: list[Any] = []
        self.contexts = 0

        class IMatrixMultiplyLayer(_Layer):
            op0 = self.MatrixOperation.NONE

        self.IMatrixMultiplyLayer = IMatrixMultiplyLayer

    def _touch(self, what: str) -> None:
        assert self.cudart.gpus and "cudaGetDeviceCount" in self.cudart.calls, "TensorRT crashes without a GPU"
        self.touched.append(what)

    def Builder(self, log: Any) -> Any:
        self._touch("Builder")
        return _Builder(self, log)

    def OnnxParser(self, network: Any, log: Any) -> Any:
        return _Parser(self, network)

    def Runtime(self, log: Any) -> Any:
        self._touch("Runtime")
        return _Runtime(self, log)


class _Layer:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def get_input(self, index: int) -> Any:
        return self.entry

    def get_output(self, index: int) -> Any:
        return self.output


class _Builder:
    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        self._trt, self._log = trt, log

    def create_network(self, flags: int) -> Any:
        assert flags == 1 << 1, "the network is strongly typed"
        return SimpleNamespace(onnx=b"")

    def create_builder_config(self) -> Any:
        config = _Config()
        self._trt.configs.append(config)
        return config

    def create_optimization_profile(self) -> Any:
        profile = SimpleNamespace(shapes={})
        profile.set_shape = lambda name, *shapes: profile.shapes.update({name: shapes})
        return profile

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        severity = self._trt.ILogger.Severity
        for text in self._trt.build_warnings:
            self._log.log(severity.WARNING, text)
        for text in self._trt.build_errors:
            self._log.log(severity.ERROR, text)
        if self._trt.build_errors:
            return None
        return HEADER + self._trt.numbers + network.onnx


class _Config:
    def __init__(self) -> None:
        self.flags, self.limits, self.profiles, self.timings = {"TF32"}, {}, [], []  # type: ignore[var-annotated]

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.limits[pool.name] = size

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return 0

    def create_timing_cache(self, data: bytes) -> bytes:
        return data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.timings.append(cache)
        return not cache.startswith(b"foreign")

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: b"timings")


class _Parser:
    def __init__(self, trt: FakeTensorRT, network: Any) -> None:
        self._trt, self._network = trt, network

    num_errors = property(lambda self: len(self._trt.parse_errors))

    def get_error(self, index: int) -> Any:
        return self._trt.parse_errors[index]

    def parse(self, onnx: bytes) -> bool:
        if self._trt.parse_errors:
            return False
        session = _session(onnx)
        entry, output = session.get_inputs()[0], session.get_outputs()[0]
        shape = tuple(size if isinstance(size, int) else -1 for size in entry.shape)
        network, types = self._network, self._trt.LayerType
        network.onnx, network.num_inputs, network.num_outputs, network.num_layers = onnx, 1, 1, 1
        network.get_input = lambda index: SimpleNamespace(name=entry.name, shape=shape)
        features = SimpleNamespace(shape=(-1, int(np.prod(shape[1:]))), dtype=self._trt.DataType.FLOAT)
        logits = SimpleNamespace(shape=(-1, output.shape[1]))
        layer = _Layer(name="head", type=types.MATRIX_MULTIPLY, entry=features, output=logits)
        network.get_layer = lambda index: layer
        return True


class _Runtime:
    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        self._trt, self._log = trt, log
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if plan[len(HEADER) : len(HEADER) + 4] != self._trt.numbers:
            self._log.log(self._trt.ILogger.Severity.ERROR, "the plan is of another version")
            return None
        return _Engine(self._trt, self._log, plan[len(HEADER) + 4 :])


class _Engine:
    def __init__(self, trt: FakeTensorRT, log: Any, onnx: bytes) -> None:
        self.trt, self.log, self.session = trt, log, _session(onnx)
        self.tensors = {each.name: each for each in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        is_input = name == self.session.get_inputs()[0].name
        return self.trt.TensorIOMode.INPUT if is_input else self.trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.trt.DataType.UINT8 if "uint8" in self.tensors[name].type else self.trt.DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.tensors[name].shape)

    def create_execution_context(self) -> Any:
        self.trt.contexts += 1
        return _Context(self)

    def create_engine_inspector(self) -> Any:
        layer = {
            "Name": "head",
            "LayerType": "gemm",
            "Inputs": [{"Name": "rows", "Format/Datatype": self.trt.datatype}],
            "Outputs": [{"Name": "logits", "Format/Datatype": self.trt.datatype}],
            "Metadata": "[ONNX Layer: head]",
        }
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": [layer]}))


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        trt = self._engine.trt
        for text in trt.run_errors:
            self._engine.log.log(trt.ILogger.Severity.ERROR, text)
        if trt.run_errors:
            return False
        trt.cudart.enqueue(stream, self._compute)
        return True

    def _compute(self) -> None:
        session, cudart = self._engine.session, self._engine.trt.cudart
        entry, outputs = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
        size = int(np.prod(self._shape))
        batch = cudart.view(self._addresses[entry], size, "device").reshape(self._shape).copy()
        for output, values in zip(outputs, session.run(outputs, {entry: batch}), strict=True):
            computed = np.ascontiguousarray(-values if self._engine.trt.wrong else values)
            place = cudart.view(self._addresses[output], computed.nbytes, "device")
            np.copyto(place, computed.view(np.uint8).reshape(-1))


def _session(onnx: bytes) -> Any:
    from edgeclf_runtime.backends.ort import import_onnxruntime

    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx, settings, providers=["CPUExecutionProvider"])
