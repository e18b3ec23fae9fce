"""`edgeclf predict`: its work, what it is asked, and how predictions are written."""
