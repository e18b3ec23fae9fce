"""Damaged files for everything that reads what strangers send: `python -m edgeclf_benchmarks.records.fuzz`."""
