"""Evaluation: how good a classifier is on labelled images, with intervals, plots and the uses of the test split."""
