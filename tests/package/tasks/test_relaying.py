"""The relay's thread in a worker's main process, which forks."""

import os
import threading
import warnings

import pytest

from embedded.waiting import wait_until
from warmer.tasks import relaying

pytestmark = pytest.mark.django_db(transaction=True)


def test_fork__shares_no_connection_of_the_relay() -> None:
    relaying.start()
    (thread,) = (each for each in threading.enumerate() if each.name == "warmer-relay")
    try:
        wait_until(lambda: relaying._open and relaying._open[0].connection, seconds=20, what="it has polled")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is the case
            child = os.fork()
        if not child:
            os._exit(sum(each.connection is not None for each in relaying._open))
        assert os.waitpid(child, 0)[1] == 0
        wait_until(lambda: relaying._open[0].connection, seconds=20, what="it polls again")
    finally:
        relaying.stop()
        thread.join()
