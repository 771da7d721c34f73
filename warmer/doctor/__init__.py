"""The doctor: checks of what teams get wrong in a set-up of caches, Celery and jobs, each with the fix."""
