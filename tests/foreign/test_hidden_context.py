"""Who asks first: a German in Tokyo, or a worker; and a tenant whose name is in the key."""

from tests.foreign.project import ForeignProject

JOBS = """
from datetime import datetime, timezone as zones

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext

NOON = datetime(2026, 5, 1, 12, tzinfo=zones.utc)


def shown():
    return {
        "label": gettext("Home"), "month": date_format(localtime(NOON), "F"),
        "hour": date_format(localtime(NOON), "H:i"), "url": reverse("admin:index"),
    }


@warm_many("label:{id}", ids=[1, 2].copy)
def labels(ids):
    return {id: shown() for id in ids}


CODES = [code for code, _ in settings.LANGUAGES]


@warm_many(
    "said:{id}",
    ids=lambda: [f"{pk}-{code}" for pk in Person.objects.values_list("pk", flat=True) for code in CODES],
    depends_on={Person: lambda person: [f"{person.id}-{code}" for code in CODES]}, fields={Person: ["name"]},
)
def said(ids):
    rows = Person.objects.in_bulk({int(id.partition("-")[0]) for id in ids})
    values = {}
    for id in ids:
        pk, _, code = id.partition("-")
        if person := rows.get(int(pk)):
            with translation.override(code):
                values[id] = f"{person.name}: {gettext('Home')}"
    return values
"""
ASK = """
from django.core.management import call_command
from django.urls import set_script_prefix
from django.utils import timezone, translation
from people.models import Person
from people.warming import labels, said

call_command("migrate", verbosity=0)
ada = Person.objects.create(name="Ada")
set_script_prefix("/below/")
with translation.override("de"), timezone.override("Asia/Tokyo"):
    first = labels.get(1)
    german = said.get(f"{ada.id}-de")
set_script_prefix("/")
result = [first, labels.get(1), labels.get(2), german, said.get(f"{ada.id}-en")]
ada.name = "Eva"
ada.save()
result += [said.get(f"{ada.id}-de"), said.get(f"{ada.id}-en")]
"""
TENANTS = """
CACHES["warm"]["KEY_FUNCTION"] = "mysite.tenants.make_key"
"""
MAKE_KEY = """
from contextvars import ContextVar

tenant = ContextVar("tenant", default="public")


def make_key(key, prefix, version):
    return f"{tenant.get()}:{prefix}:{version}:{key}"
"""


def test_loader__gives_what_the_settings_say_whoever_asks(foreign: ForeignProject) -> None:
    foreign.settings("LANGUAGES = [('en', 'English'), ('de', 'Deutsch')]")
    foreign.add("people/warming.py", JOBS)
    *told, german, english, new_german, new_english = foreign.run(ASK)
    assert told == [{"label": "Home", "month": "May", "hour": "12:00", "url": "/admin/"}] * 3
    assert (german, english) == ("Ada: Start", "Ada: Home")
    assert (new_german, new_english) == ("Eva: Start", "Eva: Home")
    foreign.check()
    foreign.manage("cache_audit", "labels", "said")  # exits with 1 if a key is wrong


def test_tenants_by_key_function__are_refused(foreign: ForeignProject) -> None:
    foreign.add("mysite/tenants.py", MAKE_KEY)
    foreign.settings(TENANTS)
    checked, found = foreign.manage_each("check", "cache_doctor")
    assert "warmer.E005" in checked
    assert "returns different names for one key" in " ".join(found.split())
    assert ["exit 1: " in said for said in (checked, found)] == [True, True]
