"""What workers answer when they are asked which queues they consume."""

import pytest
from celery import current_app
from kombu import pidbox
from redis import Redis

from tests.support.processes import SECONDS
from tests.system.nodes import Worker
from tests.system.project import Project
from warmer.tasks import find_workers


def test_find_workers__says_who_consumes_the_queue(
    project: Project, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_workers("warming", timeout=SECONDS).names == (worker.hostname(),)
    assert find_workers("warming", timeout=5).names == (worker.hostname(),)
    found = find_workers("nobody", timeout=5)
    assert (found.names, found.problem) == ((), "no worker that answered consumes the queue 'nobody'")
    with Redis.from_url(project.environment["CELERY_BROKER_URL"], decode_responses=True) as broker:
        assert [key for key in broker.scan_iter() if "reply" in key] == []

    # A late answer to an earlier question is none. Kombu names the queue of the answers after an address in
    # memory, which may be that of one before.
    monkeypatch.setattr(pidbox, "oid_from", lambda _mailbox: "the-same")
    with current_app.connection_for_write() as connection:
        mailbox = current_app.control.mailbox(connection)
        mailbox.reply_queue(connection.default_channel).declare()
        connection.Producer().publish(
            {"another@host": []},
            exchange=mailbox.reply_exchange,
            routing_key=mailbox.oid,
            headers={"ticket": "of an earlier question"},
        )
        assert find_workers("warming", timeout=5).names == (worker.hostname(),)
