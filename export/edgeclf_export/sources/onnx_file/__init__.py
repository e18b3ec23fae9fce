"""An ONNX file of any exporter as a source: read and checked, with edgeclf's input and output."""
