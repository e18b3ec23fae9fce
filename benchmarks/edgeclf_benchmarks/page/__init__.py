"""What every HTML page of edgeclf is made of: one frame, one style sheet, tables, escaping."""
