"""Other tools' data and clusters: Ray Data."""
