"""A serializer and a compressor for django-redis: exact, fast, and without pickle."""
