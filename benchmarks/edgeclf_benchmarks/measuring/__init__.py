"""One `edgeclf bench`: who is timed, how, and the report of it."""
