"""A measure of what the tests prove: plausible faults, and the tests that must catch each of them.

The faults are in `mutations.toml`; `script/mutate` makes them one by one in a copy of the project.
"""
