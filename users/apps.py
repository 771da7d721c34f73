"""The `users` app."""

from django.apps import AppConfig


class UsersConfig(AppConfig):
    """The site's users."""

    name = "users"
