"""The device side of edgeclf: a bundle in, predictions out, with numpy, Pillow and one engine. Never torch."""
