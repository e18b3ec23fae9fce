"""What a network is trained on: augmentation, batches, caches."""
