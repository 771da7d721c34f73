"""The race of a reader with a writer, forced on other caching libraries and on warmer: `script/peers`."""
