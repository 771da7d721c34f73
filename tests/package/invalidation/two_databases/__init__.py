"""A site with two databases, in a process of its own: the suite's own has one."""
