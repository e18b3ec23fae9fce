"""The page of compare: one HTML file without scripts or network."""
