"""A serializer and a compressor for django-redis: exact, fast, and without pickle. They need msgspec."""

try:
    from warmer.serializers.django_redis import LongValueCompressor, MsgspecSerializer
except ModuleNotFoundError as error:
    if error.name != "msgspec":
        raise
    raise ImportError('warmer.serializers needs msgspec: run pip install "warmer[msgspec]"') from error

__all__ = ["LongValueCompressor", "MsgspecSerializer"]
