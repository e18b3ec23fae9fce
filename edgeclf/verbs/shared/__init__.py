"""What several commands share: options, tables, writers."""
