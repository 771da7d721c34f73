"""Settings of a project without django-celery-beat."""

from config.settings.test import *
from config.settings.test import INSTALLED_APPS as TEST_APPS

INSTALLED_APPS = [app for app in TEST_APPS if app != "django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
