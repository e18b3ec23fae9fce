"""Clusters: a bundle over a data set on several processes or machines."""
