"""Images a second of edgeclf beside its peers and loops by hand: `python -m edgeclf_benchmarks.records.peers`."""
