"""Model changes: what is invalidated, when, and what is left alone."""
