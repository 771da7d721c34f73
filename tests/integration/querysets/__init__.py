"""Bulk methods that invalidate what they touch: which ids, at which cost, and as Django's in all else."""
