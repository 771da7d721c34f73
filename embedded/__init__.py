"""The servers that development and tests start by themselves: no root, nothing to install."""
