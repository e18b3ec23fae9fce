"""Kills, full disks and races of commands: `python -m edgeclf_benchmarks.records.faults`."""
