"""The learning curve: accuracy against the number of training images."""
