"""A job as frozen data, the registry of all jobs, and the validation of declarations."""
