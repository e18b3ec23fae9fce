"""`edgeclf data`: look at a data set, split it, measure it, fetch a public one; a file a command."""
