"""How often a latency rule calls unchanged code slower, and which slowdowns it finds."""
