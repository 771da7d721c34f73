"""An outage of the cache: what pages, reads and saves cost while it refuses, and while it hangs.

Four threads of one process share the work, as in a site's web process. A cache that refuses connections
should cost a site nearly as much as one that has hung for a second: the database serves in both cases.

Visitors often want the same page at the same time, so every other visit is to the front page, whose two reads
are the same for everybody. The other visits, and the reads of the second table, read 100 profiles in turn, so
no two threads want the same profile, and no load can be shared.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import quantiles

from django.db import connections
from django.test import Client
from django.utils import timezone

from bench.data import BIO, create_users
from bench.measure import Row, Table, cost, speed
from bench.site import Site
from config.celery import app
from myapp.models import Post
from myapp.warming import FRONT_PAGE_POSTS, popular_posts
from users.models import CustomUser
from users.warming import user_profiles

THREADS = 4
USERS = 100
HUNG_SECONDS = 1.0
DATABASE, REFUSED, FROZEN = "the database alone", "the cache refuses", "the cache hangs"
P99 = "p99 ms"


def outage(rows: int, site: Site) -> list[Table[Row]]:
    create_users(USERS)
    create_front_page()
    site.cpu = float  # the server would not answer
    site.callback(_set_state, DATABASE, site, 0)
    operator = Client()
    operator.force_login(CustomUser.objects.create_superuser("operator", password=None))

    def get(path: str, number: int, status: int = 200, client: Client | None = None) -> None:
        client = client or Client(HTTP_HOST="localhost")
        assert client.get(path.format(id=number % USERS + 1), secure=True).status_code == status

    def overview(number: int) -> None:
        app.conf.task_always_eager = False  # the page asks the broker, too
        client = Client(HTTP_HOST="localhost")
        client.cookies = operator.cookies
        get("/admin/warmer/", number, client=client)

    def save(number: int) -> None:
        CustomUser.objects.get(pk=number % USERS + 1).save()

    def row(title: str, work: Callable[[int], None], count: int, **versus: object) -> Row:
        return Row(
            title=title,
            prepare=partial(_set_state, title, site, min(HUNG_SECONDS, rows / 1_000)),
            run=partial(_by_threads, work, count),
            operations=count,
            verify=_percentile,
            **versus,  # type: ignore[arg-type]
        )

    def reads(operation: str, work: Callable[..., None], *, target: float | None) -> Table[Row]:
        versus = [speed(other=DATABASE, target=target)]
        outages = [
            row(state, partial(work, is_cached=True), rows, versus=versus) for state in (REFUSED, FROZEN)
        ]
        alone = row(DATABASE, partial(work, is_cached=False), rows)
        return Table(operation=operation, rows=[alone, *outages])

    tail = [cost(other=REFUSED, of=P99, target=3.0)]
    few = max(rows // 200, THREADS)
    works: dict[str, tuple[Callable[[int], None], int]] = {
        "page": (partial(get, "/users/{id}/"), rows // 10),
        "save": (save, rows // 10),
        "page of the overview": (overview, few),
        "call of /healthz": (partial(get, "/healthz"), rows // 10),
        "call of /readyz": (partial(get, "/readyz", status=503), few),
    }
    return [
        reads("visit", visit, target=1.0),
        reads("read of a profile", read, target=None),
        *(
            Table(operation=name, rows=[row(REFUSED, *work), row(FROZEN, *work, versus=tail)])
            for name, work in works.items()
        ),
    ]


def create_front_page() -> None:
    """Write the posts of the front page, each by another author."""
    common = {"body": BIO * 10, "is_popular": True, "published_at": timezone.now()}
    for number in range(1, FRONT_PAGE_POSTS + 1):
        Post.objects.create(slug=f"post-{number}", author_id=number, views=number, **common)


def read(number: int, *, is_cached: bool) -> None:
    """Read the next profile, from the cache or with the loader itself."""
    id = number % USERS + 1
    assert user_profiles.get(id) if is_cached else user_profiles([id])


def visit(number: int, *, is_cached: bool) -> None:
    """Read what the front page shows, or the next profile."""
    if number % 2:
        read(number, is_cached=is_cached)
        return
    posts = popular_posts.get() if is_cached else popular_posts()
    authors = [each["author_id"] for each in posts or ()]
    profiles = user_profiles.get_many(authors) if is_cached else user_profiles(authors)
    assert len(profiles) == FRONT_PAGE_POSTS


def _set_state(title: str, site: Site, seconds: float) -> None:
    """Make the cache refuse, hang or answer, and use it until the circuit breaker has noticed."""
    app.conf.task_always_eager = True
    site.redis.resume()
    site.redis.start()
    if title == DATABASE:
        return
    if title == REFUSED:
        site.redis.stop()
    else:
        site.redis.pause()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        user_profiles.get(1)


def _by_threads(work: Callable[[int], None], count: int) -> list[float]:
    """Do the work this many times, in threads; return how long each took."""
    numbers = iter(range(count))  # taking the next number is atomic, so threads may share it

    def thread() -> list[float]:
        took = []
        for number in numbers:
            began = time.perf_counter()
            work(number)
            took.append(time.perf_counter() - began)
        connections.close_all()
        return took

    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(thread) for _ in range(THREADS)]
    return [seconds for each in threads for seconds in each.result()]


def _percentile(took: list[float]) -> Mapping[str, float]:
    return {P99: 1000 * quantiles(took, n=100, method="inclusive")[-1]}
