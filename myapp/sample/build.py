"""Compose the sample users, posts and comments. The same rows come out every time."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from django.contrib.auth.hashers import make_password
from django.utils.text import slugify

from myapp.models import Comment, Post
from myapp.sample.names import HABITS, REGIONS, TRADES
from myapp.sample.remarks import FIRST, SECOND
from myapp.sample.topic import Title, Topic
from myapp.sample.topics import TOPICS
from users.models import CustomUser

SEED = 20
TODAY = datetime(2026, 11, 1, 12, tzinfo=UTC)  # fixed, so that the rows are the same every day

USERS_PER_REGION = 20
WRITERS = 100  # the most active users write the posts, and comment on popular ones
INACTIVE_EVERY = 12
POPULAR_PER_TOPIC = 3
DRAFT_EVERY = 15

# Letters that Unicode does not decompose into a plain letter and an accent.
PLAIN_LETTERS = str.maketrans("łŁøØıİß", "lLoOiIs")


@dataclass(frozen=True, kw_only=True)
class SampleData:
    """Unsaved rows; posts and comments refer to the users and posts here."""

    users: list[CustomUser]
    posts: list[Post]
    comments: list[Comment]


def build() -> SampleData:
    """Compose about 300 users, 200 posts and several hundred comments."""
    random = Random(SEED)
    users = list(_users(random))
    active = [user for user in users if user.is_active]
    writers = sorted(active, key=lambda user: user.activity, reverse=True)[:WRITERS]
    posts = list(_posts(random, writers))
    comments = [
        comment
        for post in posts
        for comment in _comments(random, post, writers if post.is_popular else users)
    ]
    return SampleData(users=users, posts=posts, comments=comments)


def _users(random: Random) -> Iterator[CustomUser]:
    names = [
        (given, family, random.choice(region.towns))
        for region in REGIONS
        for given, family in random.sample(
            [(given, family) for given in region.given for family in region.family],
            USERS_PER_REGION,
        )
    ]
    random.shuffle(names)
    # Most active first. A few are very active, and no two of the first 150 have the same activity.
    people = []
    for rank, (given, family, town) in enumerate(names):
        username = ".".join(slugify(_plain(name)) for name in (given, family))
        trade, habit = random.choice(TRADES), random.choice(HABITS)
        people.append(
            CustomUser(
                username=username,
                email=f"{username}@example.{random.choice(['org', 'com', 'net'])}",
                password=make_password(None),  # nobody can log in as a sample user
                first_name=given,
                last_name=family,
                location=town,
                bio=random.choice([f"{trade} in {town}. {habit}", f"{trade}. {habit}", habit]),
                activity=round(1900 * 0.984**rank),
                # Some very active users have inactive accounts: no profile, and not among the 100.
                is_active=rank % INACTIVE_EVERY != INACTIVE_EVERY // 2,
                date_joined=TODAY - timedelta(minutes=random.randrange(500_000, 4_000_000)),
            )
        )
    random.shuffle(people)  # so that ids do not follow activity
    yield from people


def _posts(random: Random, writers: Sequence[CustomUser]) -> Iterator[Post]:
    number_of_titles = len(TOPICS[0].titles)
    for number in range(number_of_titles):
        for place, topic in enumerate(TOPICS):
            title = topic.titles[number]
            # A long tail, as on real sites: most posts are read little, a few very much.
            views = min(round(random.paretovariate(1.3) * 90), 4_000)
            is_popular = number < POPULAR_PER_TOPIC
            is_draft = (number + place) % DRAFT_EVERY == 1
            yield Post(
                title=title.text,
                slug=slugify(_plain(title.text)),
                body=_body(random, topic, title, number),
                author=random.choice(writers),
                views=0 if is_draft else views * (20 if is_popular else 1) + random.randrange(20),
                is_popular=is_popular,
                published_at=None
                if is_draft
                else TODAY - timedelta(minutes=random.randrange(10_000, 500_000)),
            )


def _body(random: Random, topic: Topic, title: Title, number: int) -> str:
    opening = topic.openings[number % len(topic.openings)].format(subject=title.subject)
    chosen = sorted(random.sample(range(len(topic.middles)), random.randint(3, 5)))
    middles = [topic.middles[place] for place in chosen]
    return "\n\n".join([opening, *middles, random.choice(topic.endings)])


def _comments(random: Random, post: Post, readers: Sequence[CustomUser]) -> Iterator[Comment]:
    if post.published_at is None:
        return
    count = random.randint(5, 16) if post.is_popular else max(0, random.randint(-2, 5))
    delays = sorted(random.randrange(30, 9_000) for _ in range(count))
    firsts = random.sample(FIRST, count)
    for delay, first in zip(delays, firsts, strict=True):
        second = random.choice(SECOND) if random.random() < 0.5 else ""
        yield Comment(
            post=post,
            author=random.choice(readers),
            body=f"{first} {second}".strip(),
            created_at=post.published_at + timedelta(minutes=delay),
        )


def _plain(text: str) -> str:
    """Convert a name to the letters allowed in usernames and e-mail addresses."""
    apart = unicodedata.normalize("NFKD", text.translate(PLAIN_LETTERS))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))
