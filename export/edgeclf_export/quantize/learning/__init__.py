"""Learning through Q/DQ: weights that a float network teaches to bear rounding."""
