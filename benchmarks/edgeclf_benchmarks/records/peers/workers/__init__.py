"""One script for each peer, run by `worker.py` with the peer's own Python: none imports another module of edgeclf.

Only those that are about edgeclf itself (`edgeclf_itself.py`, `edgeclf_parts.py`) import its runtime.
"""
