"""CLIP models of open_clip on their way into bundles: zero-shot classifiers, encoders, towers to train."""
