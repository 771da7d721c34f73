"""Audits of what is cached: what they say, what they cost, and how they are begun."""
