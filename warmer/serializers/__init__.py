"""A serializer and a compressor for django-redis: exact, fast, and without pickle. They need msgspec."""

from warmer.serializers.django_redis import LongValueCompressor, MsgspecSerializer

__all__ = ["LongValueCompressor", "MsgspecSerializer"]
