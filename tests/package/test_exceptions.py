"""What the message of an unknown job tells."""

import pickle

import pytest

from warmer.exceptions import UnknownJob


@pytest.mark.parametrize(
    ("name", "known", "nearest", "named"),
    [
        ("user_profile", ["posts", "user_profiles", "popular_posts"], ["user_profiles"], "mean user_profiles?"),
        ("posts", [f"posts_{n}" for n in range(2, 6)], ["posts_5", "posts_4", "posts_3"], "posts_5 or posts_4"),
        ("xyz", iter(["user_profiles", "popular_posts"]), [], "popular_posts, user_profiles"),
        ("xyz", [], [], "@warm"),
    ],
)
def test_unknown_job__names_the_nearest_or_all(name: str, known: list[str], nearest: list[str], named: str) -> None:
    error = UnknownJob(name, known)
    assert (error.name, error.nearest) == (name, nearest)
    assert named in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.nearest) == (UnknownJob, str(error), nearest)
