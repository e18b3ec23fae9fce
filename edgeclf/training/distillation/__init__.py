"""Knowledge distillation: a teacher, its logits, and the views of an image that it shares with its student."""
