"""The TensorRT target: precision, lint, the proof of the graph, the engine where there is a GPU."""
