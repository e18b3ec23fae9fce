"""Adaptation to unlabelled images (VICReg)."""
