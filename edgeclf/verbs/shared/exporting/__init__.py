"""`edgeclf export` and `zeroshot`: what is exported, with which options, and what is shown of it."""
