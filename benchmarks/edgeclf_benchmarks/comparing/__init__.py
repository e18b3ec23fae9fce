"""Compare: reports beside each other, gates, the recommendation."""
