"""A job as frozen data, the registry of all jobs, and what is refused when one is declared."""
