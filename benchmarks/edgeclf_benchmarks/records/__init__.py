"""Makers of the records in benchmarks/results/: `python -m edgeclf_benchmarks.records.NAME`."""
