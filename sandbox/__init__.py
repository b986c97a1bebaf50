"""Floor 1: one guest, its channels, its limits, its outcome. Importing this package imports no engine."""
