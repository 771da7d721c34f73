"""Settings of a project without django-celery-beat."""

from config.settings import test

globals().update({name: value for name, value in vars(test).items() if name.isupper()})

INSTALLED_APPS = [app for app in test.INSTALLED_APPS if app != "django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
