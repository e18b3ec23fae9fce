"""Judging: how good a classifier is on labelled images, with intervals, pictures and a count of looks at the test."""
