"""Bench: latency, accuracy and robustness of bundles beside each other, and the report's schema."""
