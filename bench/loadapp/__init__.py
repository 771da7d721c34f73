"""Jobs without a database behind them, for benchmarks with workers: what is measured is warmer alone."""
