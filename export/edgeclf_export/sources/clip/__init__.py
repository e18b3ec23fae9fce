"""CLIP models of open_clip as sources of bundles: zero-shot classifiers, encoders, image towers to train."""
