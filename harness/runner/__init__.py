"""Runs cases in worker processes; the parent imports no inference runtime."""
