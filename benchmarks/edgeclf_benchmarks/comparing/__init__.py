"""Reports beside each other: tables, the page, gates, a recommendation."""
