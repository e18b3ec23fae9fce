"""Labels that a person gives: images to look at, and what was written of them."""
