"""Texts: the tokenizer of CLIP bundles, golden texts, names that look alike."""
