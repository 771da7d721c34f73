"""`@warm` and `@warm_many`: what they make, and that a declaration that cannot work fails at once."""
