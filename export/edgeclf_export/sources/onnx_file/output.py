"""The outputs of an ONNX file: which one has the logits, and the softmax or sigmoid that is cut off its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeclf_export.graph.editing import cut_to, described, inferred, makers_of
from edgeclf_export.sources.labels import shown_labels
from edgeclf_export.sources.onnx_file.input import describe, shape_of, type_name
from edgeclf_export.sources.onnx_file.reading import own_name
from edgeclf_runtime.errors import DataError, UsageError

_FLOATS = ("float", "float16", "double")
_RESHAPING = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")
_NAMING = ("ArgMax", "TopK", "ZipMap", "LabelEncoder", "ArrayFeatureExtractor")  # what turns scores into labels
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")  # of a file that is quantized already
_SHIFTING = (  # what computes scores from scores, without weights of a layer
    *("Mul", "Add", "Sub", "Div", "Clip", "Min", "Max", "Pow", "Concat", "Split", "Transpose", "Slice", "Gather"),
    *("QLinearMul", "QLinearAdd", "QLinearConcat"),
)
_ACTIVATIONS: dict[str, Literal["softmax", "sigmoid"]] = {
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "QLinearSoftmax": "softmax",  # ONNX Runtime's, of and to integers
    "QLinearSigmoid": "sigmoid",
}


@dataclass(frozen=True)
class Choice:
    """The tensor that becomes the output, the activation before it (None: there is none), and a note for the user.

    `rounding`: the nodes between the two that put its scores into 8 bits and back.
    """

    tensor: str
    activation: Any
    rounding: tuple[Any, ...]
    note: str | None

    @property
    def scores(self) -> Literal["softmax", "sigmoid"]:
        return "softmax" if self.activation is None else _ACTIVATIONS[self.activation.op_type]


@dataclass(frozen=True)
class _Output:
    """An output, or the scores from which an output names classes (`derived`); `root` is where its values come from."""

    name: str
    about: str
    tensor: str
    root: str
    activation: Any
    rounding: tuple[Any, ...]
    derived: bool
    fits: bool


def choose_output(model: Any, labels: tuple[str, ...], wanted: str | None, path: Path) -> Choice:
    """The output with one logit (or probability) a label; `wanted` names it.

    Raises UsageError where several are possible or `wanted` is none of them, DataError where none has logits.
    """
    outputs = [_read(model, value, len(labels)) for value in model.graph.output]
    listed = ", ".join(f"{output.name} {output.about}" for output in outputs)
    if wanted is not None:
        named = [output for output in outputs if output.name == wanted]
        if not named:
            raise UsageError(f"{path}: has no output {wanted!r}; --output-name takes one of {listed}")
        fitting = [output for output in named if output.fits]
    else:
        fitting = [output for output in outputs if output.fits and not output.derived]
        fitting = fitting or [output for output in outputs if output.fits]
    if not fitting:
        raise DataError(f"{path}: {_nothing_fits(outputs, listed, labels, wanted)}")
    activations = {_ACTIVATIONS[output.activation.op_type] for output in fitting if output.activation is not None}
    if len({output.root for output in fitting}) > 1 or len(activations) > 1:
        found = ", ".join(f"{output.name} {output.about}" for output in fitting)
        raise UsageError(f"{path}: several outputs could be its logits; choose with --output-name one of {found}")
    chosen = next((output for output in fitting if output.activation is not None), fitting[0])
    maker = makers_of(model.graph).get(chosen.tensor)
    if chosen.derived and maker is not None and maker.op_type.startswith(("QLinear", "QGemm")):
        raise DataError(
            f"{path}: {chosen.name} names classes from scores in 8 bits; export it with its scores as a float output"
        )
    return Choice(chosen.tensor, chosen.activation, chosen.rounding, _note(chosen, listed, len(outputs), wanted))


def cut_at(model: Any, choice: Choice, elem_type: int, *, activated: bool) -> Any:
    """A copy whose one output is the choice's tensor, with only the nodes that it needs.

    Unless `activated`, its activation becomes an Identity (a DequantizeLinear, of one on integers), and the rounding of
    its scores does: 8 bits between 0 and 1 have no room for logits.
    """
    import onnx

    copy = cut_to(model, [choice.tensor], elem_type)
    cut = () if activated or choice.activation is None else (choice.activation, *choice.rounding)
    others = {tuple(node.output): "Identity" for node in cut}
    if cut and choice.activation.op_type.startswith("QLinear"):
        others[tuple(choice.activation.output)] = "DequantizeLinear"
    for node in copy.graph.node:
        if operator := others.get(tuple(node.output)):
            inputs = node.input[: 3 if operator == "DequantizeLinear" else 1]
            node.CopyFrom(onnx.helper.make_node(operator, inputs, node.output[:1]))
    if choice.rounding:
        del copy.graph.value_info[:]  # they are floats now
    domains = {"", "ai.onnx"}.union(node.domain for node in copy.graph.node)
    unused = [entry for entry in copy.opset_import if entry.domain not in domains]
    for entry in unused:
        copy.opset_import.remove(entry)
    return copy


def left_activation(model: Any) -> str | None:
    """The softmax or sigmoid from which a model's output follows without weights between: it can't be cut off there.

    None: there is none.
    """
    makers = makers_of(model.graph)
    waiting, seen = [str(model.graph.output[0].name)], set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in _ACTIVATIONS:
            return _ACTIVATIONS[node.op_type]
        if node.op_type in (*_RESHAPING, *_ROUNDING, *_SHIFTING):
            waiting += map(str, node.input)
    return None


def tensor_type(model: Any, tensor: str) -> int:
    """The number of a tensor's type, inferred; float where onnx can't infer it."""
    import onnx

    known = next((value for value in model.graph.output if value.name == tensor), None)
    if known is None or not known.type.HasField("tensor_type"):
        found = described(inferred(model).graph).get(tensor)
        return int((found and found.elem_type) or onnx.TensorProto.FLOAT)
    return int(known.type.tensor_type.elem_type)


def _read(model: Any, value: Any, classes: int) -> _Output:
    makers = makers_of(model.graph)
    is_scores = value.type.HasField("tensor_type") and type_name(value) in _FLOATS
    tensor, derived = str(value.name), not is_scores
    if derived:
        tensor = _scores_behind(tensor, makers) or ""
        if tensor in makers and makers[tensor].op_type == "QuantizeLinear":
            tensor = str(makers[tensor].input[0])
    root, activation, rounding = _root(tensor, makers)
    fits = bool(tensor) and (derived or _may_hold(value, classes))
    return _Output(own_name(value.name), describe(value), tensor, root, activation, rounding, derived, fits)


def _scores_behind(name: str, makers: dict[str, Any]) -> str | None:
    """The scores from which an output computes the best class or its name; None where it is something else."""
    found = None
    while name in makers and (makers[name].op_type in _NAMING or makers[name].op_type in _RESHAPING):
        node = makers[name]
        name = str(node.input[1 if node.op_type == "ArrayFeatureExtractor" else 0])
        found = name if node.op_type in ("ArgMax", "TopK", "ZipMap") else found
    return found


def _root(name: str, makers: dict[str, Any]) -> tuple[str, Any, tuple[Any, ...]]:
    """Where the values of a tensor come from, behind what only reshapes or rounds them, and what is on the way.

    That is the activation, and the nodes that round what comes out of it.
    """
    activation, rounding = None, []
    while name in makers:
        node = makers[name]
        if node.op_type in _ACTIVATIONS and activation is None:
            activation = node
        elif node.op_type in _ROUNDING:
            rounding += [node] if activation is None else []
        elif node.op_type not in _RESHAPING:
            break
        name = str(node.input[0])
    return name, activation, tuple(rounding)


def _may_hold(value: Any, classes: int) -> bool:
    """Whether an output can be (N, classes), sides of 1 aside."""
    if not value.type.tensor_type.HasField("shape"):
        return True
    sizes = shape_of(value)[1:]
    wide = [size for size in sizes if size != 1]
    return len(sizes) > 0 and (wide == [classes] or None in wide)


def _nothing_fits(outputs: list[_Output], listed: str, labels: tuple[str, ...], wanted: str | None) -> str:
    scores = [output for output in outputs if not output.derived and wanted in (None, output.name)]
    if len(scores) == 1 and scores[0].about.endswith(", 1)"):
        return (
            f"gives one number for each image ({listed}), as a binary classifier does, and bundles have one logit for "
            "each class; export it with two outputs, 0 and its logit, and two labels"
        )
    if len(scores) == 1:
        found = f"wanted a logit for each of {shown_labels(labels)}, found {scores[0].name} {scores[0].about}"
        flat = scores[0].about.endswith(f"({len(labels)})")
        return f"{found}: it has no batch dimension; export it again with (N, {len(labels)})" if flat else found
    return f"none of its outputs has a logit for each of {shown_labels(labels)}: {listed}"


def _note(chosen: _Output, listed: str, outputs: int, wanted: str | None) -> str | None:
    if chosen.derived:
        return f"the output {chosen.name} only names classes: the scores {own_name(chosen.tensor)} before it were taken"
    if outputs == 1 or wanted is not None:
        return None
    return f"of its outputs {listed}, {chosen.name} was taken; --output-name takes another"
