"""The SQL of triggers: what they record, rendered for each database vendor."""
