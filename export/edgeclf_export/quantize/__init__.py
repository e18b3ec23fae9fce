"""INT8 with a guaranteed floor: calibration images, a ladder of ways to quantize, the gate that each has to pass."""
