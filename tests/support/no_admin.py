"""Settings of a project with neither Django's admin nor django-celery-beat."""

from config.settings import test

globals().update({name: value for name, value in vars(test).items() if name.isupper()})

ABSENT = ("django.contrib.admin", "django_celery_beat", "users", "myapp")
INSTALLED_APPS = [app for app in test.INSTALLED_APPS if app not in ABSENT]
AUTH_USER_MODEL = "auth.User"
ROOT_URLCONF = "tests.support.no_admin"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

urlpatterns: list[object] = []
