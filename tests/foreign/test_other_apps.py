"""What other apps keep in the cache, on the guide's aliases and on one alias that they share with warmer."""

import pytest

from tests.foreign.project import ASKING, ForeignProject

APPS = """
INSTALLED_APPS += [
    "wagtail.sites", "wagtail.users", "wagtail.documents", "wagtail.images", "wagtail.search",
    "wagtail.admin", "wagtail", "modelcluster", "taggit", "waffle", "solo", "shop",
]
MIDDLEWARE += ["waffle.middleware.WaffleMiddleware"]
MEDIA_ROOT = BASE_DIR / "media"
WAGTAIL_SITE_NAME, WAGTAILADMIN_BASE_URL = "Shop", "http://localhost"
SOLO_CACHE = "default"
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
# Tables as the models say, in a fraction of the time that Wagtail's migrations take.
MIGRATION_MODULES = dict.fromkeys(
    ["wagtailadmin", "wagtailcore", "wagtaildocs", "wagtailimages", "wagtailsearch", "wagtailusers", "taggit"]
)
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000
"""
URLS = """
from django.http import HttpResponse, JsonResponse
from django.template import Context, Template
from django.views.decorators.cache import cache_page
from shop.models import Shop
from waffle import flag_is_active, switch_is_active
from wagtail import urls as pages
from wagtail.admin import urls as wagtail_admin
from wagtail.documents import urls as documents

def fragment(request):
    text = "{% load cache %}{% cache 60 fragment %}<b>hi</b>{% endcache %}"
    return HttpResponse(Template(text).render(Context()))

def flags(request):
    return JsonResponse([flag_is_active(request, "flag"), switch_is_active("switch")], safe=False)

urlpatterns += [
    path("cms/", include(wagtail_admin)),
    path("documents/", include(documents)),
    path("page/", cache_page(60)(lambda request: HttpResponse("hello"))),
    path("fragment/", fragment),
    path("flags/", flags),
    path("solo/", lambda request: HttpResponse(Shop.get_solo().name)),
    path("", include(pages)),
]
"""
MODELS = """
from django.db import models
from solo.models import SingletonModel
from wagtail.models import Page

class Shop(SingletonModel):
    name = models.CharField(max_length=20, default="Shop")

class HomePage(Page):
    pass
"""
VISIT = """
import json
import logging
from copy import deepcopy

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.cache import caches
from waffle.models import Flag, Switch
from wagtail.models import Collection, Locale, Page, Site

call_command("migrate", run_syncdb=True, verbosity=0)
from people.models import Person
from people.warming import names
from shop.models import HomePage

Locale.objects.create(language_code="en")
Collection.add_root(name="Root")
root = Page.add_root(title="Root", slug="root", content_type=ContentType.objects.get_for_model(Page))
home = root.add_child(instance=HomePage(title="Welcome", slug="welcome"))
Site.objects.create(hostname="localhost", root_page=home, is_default_site=True)
Flag.objects.create(name="flag", everyone=True)
Switch.objects.create(name="switch", active=True)
Person.objects.create(name="Ada")
admin = User.objects.create_superuser("admin", password="secret")

warned = []
class Collect(logging.Handler):
    def emit(self, record):
        warned.append(record.getMessage())
logging.getLogger("warmer.serializers").addHandler(Collect())

SMALL = ["/page/", "/fragment/", "/flags/", "/solo/"]
PAGES = ["/cms/", "/cms/pages/", f"/cms/pages/{home.pk}/edit/"]

def answers():
    client = Client(raise_request_exception=False)
    client.force_login(admin)
    found = {}
    for path in [*SMALL, *PAGES, *SMALL, PAGES[1]]:
        response = client.get(path)
        body = response.content.decode() if path in SMALL else ""
        found.setdefault(path, []).append([response.status_code, body])
    return found

def doctor():
    found = json.JSONDecoder().raw_decode(output("cache_doctor", "--json"))[0]["findings"]
    return {each["subject"]: [each["severity"], each["message"]] for each in found if each["check"] == "pickle"}

def look():
    warned.clear()
    caches[settings.WARMER_CACHE].clear()
    found = {"answers": answers(), "names": names.get()}
    found["is_cached"] = caches[names.spec.cache].get("names")
    return found | {"warned": list(warned)}

result = {"guide": look() | {"doctor": doctor()}}
call_command("check")
shared = {**settings.CACHES, "default": deepcopy(settings.CACHES["warm"])}
def share(**options):
    shared["default"].setdefault("OPTIONS", {}).update(options)
    with override_settings(CACHES=deepcopy(shared)):
        caches["default"].clear()
        found = look()
        caches["default"].set("admin", admin)
        return found | {"keeps_objects": caches["default"].get("admin") == admin}
result["shared"] = share()
result["errors raised"] = share(IGNORE_EXCEPTIONS=False)
result["fallback"] = share(FALLBACK_SERIALIZER="django_redis.serializers.pickle.PickleSerializer")
"""
BODIES = {"/page/": "hello", "/fragment/": "<b>hi</b>", "/flags/": "[true, true]", "/solo/": "Shop"}


def test_other_apps__work_on_every_kind_of_alias(foreign: ForeignProject) -> None:
    foreign.settings(APPS)
    foreign.add("mysite/urls.py", URLS)
    foreign.add("shop/__init__.py", "")
    foreign.add("shop/models.py", MODELS)
    found = foreign.run(ASKING + VISIT)
    for setup, each in found.items():
        for path, answers in each["answers"].items():
            assert all(answer == [200, BODIES.get(path, "")] for answer in answers), (setup, path, answers)
        assert each["names"] == each["is_cached"] == ["Ada"]
    assert found["guide"]["doctor"]["cache 'default'"] == ["skipped", "no job uses this cache"]
    assert found["guide"]["doctor"]["cache 'warm'"][0] == "ok"
    assert not found["guide"]["warned"]
    assert (found["shared"]["keeps_objects"], found["fallback"]["keeps_objects"]) == (False, True)
    # Each names who set the value; none is logged twice.
    warned = found["shared"]["warned"]
    assert len(warned) == len(set(warned)) >= 4
    for writer, kind in {
        "django.middleware.cache, line": "django.http.response.HttpResponse",
        "django.templatetags.cache, line": "django.utils.safestring.SafeString",
        "waffle.models, line": "waffle.models.",
        "wagtail.models.sites, line": "wagtail.models.sites.SiteRootPath",
    }.items():
        assert any(writer in text and kind in text for text in warned), (writer, warned)


TAGGED = """
from taggit.managers import TaggableManager

class Post(models.Model):
    title = models.CharField(max_length=20)
    tags = TaggableManager()
"""
TAGS = """
from people.models import Post
from taggit.models import TaggedItem

@warm_many("post:{id}", ids=lambda: [1], depends_on={Post: "id"})
def posts(ids):
    return dict(Post.objects.filter(id__in=ids).values_list("id", "title"))

@warm_many("post:{id}:tags", ids=lambda: [1], depends_on={TaggedItem: "object_id"})
def tags(ids):
    return {post.id: sorted(post.tags.names()) for post in Post.objects.filter(id__in=ids)}
"""
TAG = """
from people.models import Post
from people.warming import posts, tags
post, _ = [Post.objects.create(title=title) for title in ("one", "two")]
result = [[posts.get(1), posts.get(2)], tags.get(1)]
for change in (
    lambda: post.tags.add("a", "b"),
    lambda: post.tags.remove("a"),
    lambda: post.tags.set(["c", "d"]),
    lambda: post.tags.clear(),
):
    change()
    result.append(tags.get(1))
"""
DATA_MIGRATION = """
from django.db import migrations

def change(apps, editor):
    Post = apps.get_model("people", "Post")
    Post.objects.filter(pk=1).update(title="ONE")
    Post.objects.get(pk=2).delete()

class Migration(migrations.Migration):
    dependencies = [("people", "0002_tags")]
    operations = [migrations.RunPython(change)]
"""


@pytest.mark.usefixtures("on_postgresql")
@pytest.mark.parametrize("capture", ["signals", "triggers"])
def test_taggit__and_a_data_migration(foreign: ForeignProject, capture: str) -> None:
    foreign.settings(f"INSTALLED_APPS += ['taggit']\nWARMER_CAPTURE = {capture!r}")
    foreign.add("people/models.py", TAGGED)
    foreign.add("people/warming.py", TAGS)
    foreign.manage_each("makemigrations people --name tags", "migrate")
    assert foreign.run(TAG) == [["one", "two"], [], ["a", "b"], ["b"], ["c", "d"], []]
    if capture == "triggers":
        foreign.write("people/migrations/0003_change.py", DATA_MIGRATION)
        foreign.manage("migrate")
        assert foreign.run("from people.warming import posts; result = [posts.get(1), posts.get(2)]") == ["ONE", None]
    foreign.check()
