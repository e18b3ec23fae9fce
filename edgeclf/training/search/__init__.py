"""Which backbone: candidates timed on this machine, then trained on the user's own images, fewer and fewer of them."""
