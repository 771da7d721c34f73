"""Sample content for trying the site. Only `manage.py sample_data` imports it."""
