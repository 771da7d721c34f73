"""The `myapp` app."""

from django.apps import AppConfig


class MyappConfig(AppConfig):
    """Posts and comments."""

    name = "myapp"
    verbose_name = "Posts"
