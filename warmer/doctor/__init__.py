"""The doctor: checks of caches, Celery and jobs, each with its fix; statistics and a benchmark of a cache."""
