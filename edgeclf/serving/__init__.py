"""Serving: a bundle behind HTTP. Limits, dynamic batching, the Open Inference Protocol, the application, its server."""
