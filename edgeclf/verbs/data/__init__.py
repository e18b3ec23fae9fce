"""`edgeclf data`: check a data set, split it, measure it, fetch a public one; one file per command."""
