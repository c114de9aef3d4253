"""Runs cases in worker processes; the parent imports no inference runtime."""

REFUSED = "refused.txt"
"""The file in a twin's folder that says why there is no twin."""
