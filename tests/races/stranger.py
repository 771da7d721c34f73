"""A program of the randomised race that knows neither Django nor warmer; started like `tests.races.actor`."""

import json
import os
import random
import sys
import time

import psycopg


def main(seed: int, seconds: float, ids: range) -> int:
    """Change rows for a time, and half of them at the end; return how many changes were made."""
    numbers, done = random.Random(seed), 0
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # In order: two that change each other's second row would deadlock.
            some = sorted(numbers.sample(ids, numbers.randint(1, 3)))
            with connection.transaction(force_rollback=numbers.random() < 0.1):
                for id in some:
                    connection.execute("UPDATE myapp_post SET views = views + 1 WHERE id = %s", [id])
            done += len(some)
            time.sleep(0.02)
        connection.execute("UPDATE myapp_post SET views = views + 1 WHERE id %% 2 = %s", [ids[0] % 2])
    return done


if __name__ == "__main__":
    _role, _release, seed, seconds, first, last = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    done = main(int(seed), float(seconds), range(int(first), int(last) + 1))
    print(json.dumps({"counts": {"changes of a stranger": done}, "wrong": [], "fingerprint": ""}))
