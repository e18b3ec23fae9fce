"""Why a classifier predicts what it does: maps of the pixels that matter, their curves, pictures and a page."""
