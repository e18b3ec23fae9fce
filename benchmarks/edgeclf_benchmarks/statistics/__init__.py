"""Figures with their uncertainty, from arrays alone."""
