"""What becomes of a run when something breaks, counted over a list of injected faults."""
