"""The test suite of a project: its time with warmer installed, and with jobs declared.

The project is generated. Its tests do what most do: create rows, request pages, post a form, read rows. The
jobs depend on the tables that they write. No test reads a job, so warmer adds only the capture of changes.
"""

import sys
from functools import partial

from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from bench.measure import Row, Table, cost, difference
from bench.site import Site, Worker, database_version
from embedded.postgres_server import PostgresServer

WITHOUT, NO_JOB, JOBS = "without warmer", "warmer: no job", "warmer: 5 jobs"
WAYS = {WITHOUT: "", NO_JOB: "warmer", JOBS: "warmer,jobs"}
QUERIES = "queries of a change"
more_queries = difference(other=WITHOUT, of=QUERIES, target=1)
VERSUS = {
    WITHOUT: [],
    NO_JOB: [cost(other=WITHOUT, target=1.01)],
    JOBS: [cost(other=WITHOUT, target=1.08), more_queries],
}

FILES = {
    "__init__.py": "",
    "settings.py": """
from os import environ
import dj_database_url
SECRET_KEY = "of a benchmark"
ROOT_URLCONF = "shop.urls"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
INSTALLED_APPS += ["django_celery_beat", "shop", *filter(None, environ["BENCH_SUITE"].split(","))]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES = {"default": dj_database_url.parse(environ["DATABASE_URL"])}
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": environ["REDIS_URL"]}}
WARMER_CAPTURE = "triggers"
""",
    "models.py": """
from django.contrib.auth.models import User
from django.db import models
class Author(models.Model):
    name = models.CharField(max_length=50)
class Tag(models.Model):
    name = models.CharField(max_length=50)
class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE)
    title = models.CharField(max_length=50)
    tags = models.ManyToManyField(Tag)
    reviews = models.IntegerField(default=0)
class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)
    user = models.ForeignKey(User, models.CASCADE)
    text = models.TextField()
""",
    "urls.py": """
from django import forms
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import F
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from shop.models import Book, Review
ReviewForm = forms.modelform_factory(Review, fields=["text"])
def books(request):
    books = Book.objects.select_related("author").prefetch_related("tags", "review_set__user")
    return render(request, "books.html", {"books": books})
@login_required
@transaction.atomic
def review(request, id):
    form = ReviewForm(request.POST, instance=Review(book=get_object_or_404(Book, id=id), user=request.user))
    form.save()
    Book.objects.filter(id=id).update(reviews=F("reviews") + 1)
    return redirect("books")
urlpatterns = [path("", books, name="books"), path("<int:id>/", review, name="review")]
""",
    "templates/books.html": """
{% for book in books %}<h2>{{ book.title }}</h2>{{ book.author.name }} {{ book.reviews }}
{% for tag in book.tags.all %}<i>{{ tag.name }}</i>{% endfor %}
{% for each in book.review_set.all %}<p>{{ each.user.username }}: {{ each.text }}</p>{% endfor %}{% endfor %}
""",
    "tests.py": """
from os import environ
from django.contrib.auth.models import User
from django.test import TestCase
from shop.models import Author, Book, Review, Tag
class BookTests(TestCase):
    def setUp(self):
        self.user = User.objects.create_user("ada", password="secret")
        tags = Tag.objects.bulk_create(Tag(name=f"tag {n}") for n in range(5))
        for n in range(5):
            book = Book.objects.create(author=Author.objects.create(name=f"author {n}"), title=f"book {n}")
            book.tags.set(tags[n:])
        self.book = book
    def do(self):
        self.client.login(username="ada", password="secret")
        self.assertContains(self.client.get("/"), "book 4")
        for n in range(2):
            self.client.post(f"/{self.book.id}/", {"text": f"review {n}"})
        self.assertContains(self.client.get("/"), "review 1")
        self.book.refresh_from_db()
        self.assertEqual((self.book.reviews, Review.objects.count()), (2, 2))
        self.book.title = "renamed"
        self.book.save()
        Review.objects.first().delete()
        self.assertContains(self.client.get("/"), "renamed")
for number in range(int(environ["BENCH_TESTS"])):
    setattr(BookTests, f"test_{number}", BookTests.do)
""",
    "../jobs/warming.py": """
from django.contrib.auth.models import User
from shop.models import Author, Book, Review, Tag
from warmer import warm, warm_many
jobs = [
    warm_many("author:{id}", ids=list, name="author", depends_on={Author: "id", Book: "author_id"})(dict),
    warm_many("book:{id}", ids=list, name="book", depends_on={Book: "id", Review: "book_id"})(dict),
    warm_many("tag:{id}", ids=list, name="tag", depends_on={Book.tags.through: "tag_id", Tag: "id"})(dict),
    warm_many("user:{id}", ids=list, name="user", depends_on={User: "id", Review: "user_id"})(dict),
    warm("tags", name="all_tags", depends_on=[Tag])(list),
]
""",
}


def suite(rows: int, site: Site) -> list[Table[Row]]:
    for name, text in FILES.items():
        file = site.folder / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    sys.path.insert(0, str(site.folder))
    postgres = site.enter_context(PostgresServer())
    made = []
    for title, apps_of_way in WAYS.items():
        database = postgres.create_database(f"suite{len(made)}")
        environment = {"DJANGO_SETTINGS_MODULE": "shop.settings", "DATABASE_URL": database}
        worker = Worker(**environment, BENCH_SUITE=apps_of_way, BENCH_TESTS=str(rows))
        site.enter_context(worker)
        site.databases = worker.ask(begin)
        count = partial(worker.ask, count_queries)
        row = worker.row(run_tests, title=title, operations=rows, verify=count, versus=VERSUS[title])
        made.append(row)
    return [Table(operation="test", rows=made)]


# -- what a process does ---------------------------------------------------------------------------
def begin() -> dict[str, str]:
    """Make the tables; return the version of the database."""
    call_command("makemigrations", "shop", verbosity=0)
    call_command("migrate", verbosity=0)
    return database_version()


def run_tests() -> None:
    """Run the tests as `manage.py test` does; raise if one fails."""
    call_command("test", "shop", verbosity=0, interactive=False)


def count_queries(_: None) -> dict[str, float]:
    """Return the queries of a transaction that changes a row on which several jobs depend."""
    author = apps.get_model("shop.Author").objects.create(name="Ada")
    book = apps.get_model("shop.Book").objects.create(author=author, title="Notes")
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        book.save()
    return {QUERIES: float(len(queries))}
