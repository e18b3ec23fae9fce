"""Bringing a bundle to a machine: verify it there, build its engine, choose the fastest candidate."""
