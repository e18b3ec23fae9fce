"""Streams: frames of videos and cameras, how they reach the classifier, and how fast they are answered."""
