"""Results of other tools as runs, and runs as results of other tools: pytest-benchmark's JSON, both ways."""
