"""The settings selected by `DJANGO_ENV`: development (the default), production or test."""

from config.environment import environment_name

match environment_name():
    case "production":
        from config.settings.production import *
    case "test":
        from config.settings.test import *
    case _:
        from config.settings.development import *
