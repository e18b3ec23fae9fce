"""A trained module becomes proven bundles: ONNX, OpenVINO, PyTorch."""
