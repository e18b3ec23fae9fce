"""Doctor: what this machine has, and which engines run here."""
