"""The serializer: what comes back is what was written, to the type and the bit, or it is refused."""
