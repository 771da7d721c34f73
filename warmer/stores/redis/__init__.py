"""The store for Redis and Valkey servers: the fence in Lua, and one round trip per call."""
