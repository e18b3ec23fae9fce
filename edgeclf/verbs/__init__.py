"""One file a verb: its options, one call of a public function, and how the result is shown."""
