"""What can be exported: backbones, runs, your own module, an ONNX file, a bundle."""
