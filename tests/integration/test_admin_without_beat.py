"""The admin's pages in a project that has no django-celery-beat."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CODE = """
import django
django.setup()
from django.core.management import call_command
from django.test import Client
from users.models import CustomUser
call_command("migrate", verbosity=0)
client = Client()
client.force_login(CustomUser.objects.create_superuser("root", "root@example.org", "x"))
overview = client.get("/admin/warmer/")
assert overview.status_code == 200, overview
assert ">posts</a>" in overview.content.decode()
page = client.get("/admin/warmer/job/posts/schedule/").content.decode()
assert "django_celery_beat is not installed" in page
assert 'name="number"' not in page
for url in ("pause/", "resume/", "posts/schedule/", "posts/schedule/reset/"):
    answer = client.post(f"/admin/warmer/job/{url}", {"only": "posts", "kind": "interval"}, follow=True)
    assert "beat is not installed" in answer.content.decode(), url
assert client.post("/admin/warmer/job/warm/", {"only": "posts"}).status_code == 302
print("all is well")
"""


def test_pages__work_and_say_that_nothing_is_scheduled() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.no_beat"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "all is well" in done.stdout, done.stderr
