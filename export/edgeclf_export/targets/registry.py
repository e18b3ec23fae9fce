"""`TARGETS` lists all engines that bundles can be made for. To add one: a file in this folder, and a line here."""

from __future__ import annotations

from edgeclf_export.targets import litert, ort, ov, torch_module
from edgeclf_export.targets.tensorrt import target as trt

TARGETS = {target.name: target for target in (ort.TARGET, ov.TARGET, litert.TARGET, trt.TARGET, torch_module.TARGET)}
