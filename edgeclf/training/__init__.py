"""Training: a split data set and a backbone become a run. Augmentation, strategies, the loop, and what a run keeps."""
