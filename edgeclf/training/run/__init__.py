"""The run: its folder, checkpoints, curves and evaluation."""
