"""A graph on its way to TensorRT: precision, lint, what proves it, the engine where there is a GPU."""
