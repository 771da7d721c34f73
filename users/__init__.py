"""The site's people: the user model, public profiles and what keeps them warm."""
