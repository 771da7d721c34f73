"""The site's users: the user model, public profiles and their warming jobs."""
