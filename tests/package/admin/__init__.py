"""The pages of the admin: what they show, what they do, and for whom."""
