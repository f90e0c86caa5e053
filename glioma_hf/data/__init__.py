"""Data sets: one file per source, all with the same rows."""
