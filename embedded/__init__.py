"""Servers for development and tests: without root, and with nothing to install."""
