"""The model card, from measured figures."""
