"""An ONNX file of any exporter as a source: read, checked, its input and output made edgeclf's."""
