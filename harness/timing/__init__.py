"""Timing: one loop for every backend."""
