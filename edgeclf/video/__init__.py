"""Video: frames of files and cameras, how they reach the classifier, and how fast they are predicted."""
