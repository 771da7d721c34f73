"""The site: its pages, its admin, its loaders and its sample data."""
