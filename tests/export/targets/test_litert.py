"""LiteRT's target: what it refuses at once, and in slow tests what a small network becomes in each precision."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from litert_networks import converts, small_network
from patches import LABELS, PATCH_PIXELS

from edgeclf import cli
from edgeclf_export.exporter import export_module
from edgeclf_export.options import ExportOptions
from edgeclf_export.targets.litert_convert import _loadable, _refusal
from edgeclf_export.targets.litert_metadata import labels_of
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.installing import pip_install
from edgeclf_runtime.session import stored_shares

HALF = Normalization((0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
Captured = pytest.CaptureFixture[str]


def test_an_onnx_bundle_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.build(tmp_path / "leaves-onnx-fp32", "onnx")
    assert cli.run(["export", "leaves-onnx-fp32", "-t", "litert", "-t", "onnx"]) == 2
    error = capsys.readouterr().err
    assert "export the run, backbone or module that it was made from, or choose onnx or openvino" in error
    assert error.count("\n") == 1 and not (tmp_path / "bundles").exists()
    Path("foreign.onnx").touch()  # nothing is asked of its preprocessing beforehand
    assert cli.run(["export", "foreign.onnx", "-t", "litert"]) == 2
    assert capsys.readouterr().err == error


def test_a_missing_converter_is_one_line_with_what_installs_it(
    net: Any, pixels: Any, fruit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    options = ExportOptions(("litert",), output=tmp_path / "bundles")
    with pytest.raises(
        BackendError, match=rf"litert_torch can't be imported .* {re.escape(pip_install('litert-export'))}"
    ):
        export_module(net, pixels, fruit, options, normalization=HALF)
    assert not list((tmp_path / "bundles").glob("*"))


def test_what_the_converter_refuses_is_named_with_its_place() -> None:
    said = "Lowering not found: aten.special_bessel_j0.default\n\nWhile executing %x : call_function[target=torch.ops."
    said += 'aten.special_bessel_j0.default](args = (%x,))\nFile "m.py", line 4, in forward\n    return self.inner(x)\n'
    said += 'File "n.py", line 2, in forward\n    return special(x)\nUse'
    found = _refusal(RuntimeError(said), [])
    assert "the operator aten.special_bessel_j0, in `return special(x)`; replace the operator" in found


def test_what_litert_can_not_load_once_it_is_converted_is_refused_with_what_to_do() -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(BackendError, match=r"LiteRT can't run what litert-torch made .*; replace the operator"):
        _loadable(b"no model")


@converts
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_module_becomes_a_proven_bundle(precision: str, tmp_path: Path, capfd: Captured) -> None:
    import torch

    options = ExportOptions(("litert",), precision, output=tmp_path)
    (made,) = export_module(small_network(torch.nn.Hardswish), PATCH_PIXELS, LABELS, options, normalization=HALF)
    bundle = Bundle.open(made.path)
    assert verify(bundle).verdict == "pass" == made.proof.verdict
    assert (bundle.manifest.weights_precision, bundle.manifest.compute_precision) == (precision, "fp32")
    assert bundle.manifest.inputs[0].shape == (1, *PATCH_PIXELS.crop_px, 3)
    assert stored_shares(bundle)[precision] > 0.8
    assert labels_of(bundle.read("model.tflite")) == LABELS
    assert capfd.readouterr().out == ""


@converts
def test_an_operator_without_a_way_is_named_and_what_the_converter_printed_is_in_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    output = tmp_path / "bundles"

    class Strange(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(images).mean((2, 3))

    options = ExportOptions(("litert",), output=output)
    with pytest.raises(BackendError, match=r"the operator aten\.special_bessel_j0, in `return torch.*its log: "):
        export_module(Strange(), PATCH_PIXELS, ("r", "g", "b"), options, normalization=HALF)
    assert not list(output.iterdir())
    assert "bessel_j0" in (tmp_path / "state" / "edgeclf" / "litert-converter.log").read_text()
