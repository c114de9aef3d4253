"""The search for the best variant of a model: what to try next, and what was found."""
