"""The door for every trigger, and the tasks behind it, run in place. Real workers: tests/system."""
