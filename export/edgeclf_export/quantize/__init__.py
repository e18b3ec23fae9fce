"""INT8 that passes an accuracy gate: calibration images, and a ladder of ways to quantize."""
