"""Measure: latency, parity, baselines, reports. Above the runtime, below export."""
