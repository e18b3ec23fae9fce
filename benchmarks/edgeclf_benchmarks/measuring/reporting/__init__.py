"""From what a bench measured to the figures, comparisons and warnings of its report."""
