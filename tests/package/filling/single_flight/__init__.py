"""A cold key has one loader call a fence, whoever comes; nobody hangs, nobody waits for an old value."""
