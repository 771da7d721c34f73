"""Projects without django-celery-beat, and without an admin: what is there works, and nothing breaks."""

import pytest

from tests.support.processes import run_code

NO_BEAT = """
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
url = "/admin/warmer/job/posts/change/"
page = client.get(url).content.decode()
assert "django_celery_beat is not installed" in page
assert 'name="number"' not in page
for action in ("schedule", "reset", "pause posts", "resume posts"):
    assert f'value="{action.partition(" ")[0]}' not in page
    assert client.post(url, {"action": action, "kind": "interval"}).status_code == 403
assert client.post(url, {"action": "warm posts"}).status_code == 302
print("all is well")
"""


NO_ADMIN = """
import django
django.setup()
from django.core.management import call_command
from django.template import engines
call_command("check")
call_command("migrate", verbosity=0)
assert engines["django"].from_string("{{ 1 }}").render() == "1"
call_command("warm_cache", "--list")
print("all is well")
"""


@pytest.mark.parametrize(
    ("settings", "code"),
    [("no_beat", NO_BEAT), ("no_admin", NO_ADMIN)],
    ids=["beat: nothing is scheduled, and pages say so", "admin: the rest works"],
)
def test_project_without(settings: str, code: str) -> None:
    done = run_code(code, DJANGO_SETTINGS_MODULE=f"tests.support.{settings}")
    assert "all is well" in done.stdout, done.stderr
