"""Observations, audits, metrics, health, and the middleware that counts cache calls."""
