"""The bypass detector: what it finds, when, what it does, and what it leaves alone."""
