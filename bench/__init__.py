"""Benchmarks of `warmer` side by side with common alternatives: `script/bench`."""
