"""Benchmarks of `warmer` beside what people use today: `script/bench`."""
