"""`warmer` in a project that is not ours: its wheel in a venv of its own, settings that vary per test."""
