"""The machine: what is known of it, its power mode, and what binds a proof to it."""
