"""Fill the cache: one batch, a run in this process, and a read with single flight."""
