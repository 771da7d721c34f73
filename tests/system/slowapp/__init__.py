"""An app for the system tests: jobs that a test can hold while a worker executes them."""
