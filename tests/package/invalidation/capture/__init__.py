"""What the database records of changes: every kind of change, and every flaw that a trial of triggers had."""
