"""Scores of instances; imports neither models nor data."""
