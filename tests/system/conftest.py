"""Fixtures of the system tests: real workers, a real broker, real processes, all of them our own.

`CELERY_TEST_RUNTIME` says in what they run: `docker`, `process` (process groups of this machine), or
`auto` (the default: Docker where an engine answers). In Docker the worker is the project's image with
this working copy in it, on the host's network, so that it reaches the cache and the database that the
suite started; `CELERY_TEST_WORKER_IMAGE` and `CELERY_TEST_REDIS_IMAGE` name other images.

A test that needs other settings says so: `@pytest.mark.environment(CELERY_VISIBILITY_TIMEOUT=2)`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from celery import Celery
from django.db import connection
from pytest_celery import DEFAULT_WORKER_CONTAINER_TIMEOUT, CeleryTestContainer, CeleryTestSetup, RedisTestBroker
from pytest_docker_tools import container, fxtr

from embedded.ports import free_port
from tests.support.celery_apps import app_on
from tests.support.processes import ROOT, database_url
from tests.system.host_runtime import HostClient
from tests.system.nodes import BeatContainer, BrokerContainer, Worker, WorkerContainer, connect
from tests.system.project import Project

RUNTIME = os.environ.get("CELERY_TEST_RUNTIME") or "auto"
REDIS_IMAGE = os.environ.get("CELERY_TEST_REDIS_IMAGE") or "redis:8"
WORKER_IMAGE = os.environ.get("CELERY_TEST_WORKER_IMAGE")
BUILT_IMAGE = "warmer-system-tests"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "environment(**variables): what the project's processes find in their environment"
    )


def pytest_report_header() -> str:
    try:
        client = connect(RUNTIME)
    except pytest.fail.Exception as error:
        return f"celery runtime: none. {error}"
    kind = "host processes"
    if not isinstance(client, HostClient):
        kind = f"Docker {client.version()['Version']}"
    client.close()
    return f"celery runtime: {kind} (CELERY_TEST_RUNTIME={RUNTIME})"


# -- what containers run in ------------------------------------------------------------------------
@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient | HostClient]:
    client = connect(RUNTIME)
    yield client
    client.close()


@pytest.fixture(scope="session", autouse=True)
def _tests_are_on_the_host() -> Iterator[None]:
    # A virtual machine made from an image has /.dockerenv too: pytest-docker-tools would take it for
    # a container and look for published ports at the wrong address.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_docker_tools.wrappers.container.tests_inside_container", lambda: False)
        yield


def constant(value: object) -> Any:
    """Return a fixture that gives a value: the plugin asks for many."""
    return pytest.fixture(lambda: value)


# -- the broker ------------------------------------------------------------------------------------
default_redis_broker_cls = constant(BrokerContainer)
default_redis_broker_image = constant(REDIS_IMAGE)
celery_backend_cluster = constant(None)  # no result backend: the ledger says what happened


@pytest.fixture
def default_redis_broker_ports() -> dict[str, int]:
    # Docker would publish another port after a restart, where no worker looks for it.
    return {"6379/tcp": free_port()}


@pytest.fixture
def celery_broker(celery_redis_broker: RedisTestBroker) -> RedisTestBroker:
    """Redis only: the plugin's own fixture repeats each test with RabbitMQ."""
    return celery_redis_broker


# -- the worker ------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def celery_base_worker_image(docker_client: Any) -> Any:
    if WORKER_IMAGE:
        return docker_client.images.get(WORKER_IMAGE)
    image, _log = docker_client.images.build(path=str(ROOT), tag=BUILT_IMAGE, rm=True)
    return image


@pytest.fixture
def environment(
    request: pytest.FixtureRequest, transactional_db: None, celery_broker: RedisTestBroker
) -> dict[str, str]:
    """The environment that worker, beat and commands have in common."""
    marked: dict[str, object] = {}
    for marker in request.node.iter_markers("environment"):
        marked = marker.kwargs | marked  # the nearest marker comes first, and wins
    return {
        "DJANGO_ENV": "test",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "CELERY_TASK_ALWAYS_EAGER": "0",
        "CELERY_BROKER_URL": celery_broker.config()["host_url"],
        "REDIS_URL": os.environ["REDIS_URL"],
        "DATABASE_URL": database_url(),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
        **{name: str(value) for name, value in marked.items()},
    }


@pytest.fixture
def shared_folders(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a container finds at the same place as on the host: the project, the database's files."""
    settings = connection.settings_dict
    place = Path(settings["NAME"]).parent if connection.vendor == "sqlite" else Path(settings["HOST"])
    folders = {str(ROOT): {"bind": str(ROOT), "mode": "ro"}}
    if place.is_absolute():  # else PostgreSQL is reached over the network
        folders[str(place)] = {"bind": str(place), "mode": "rw"}
    return folders


def project_container(command: str, wrapper_class: type[CeleryTestContainer]) -> Any:
    """Return a fixture that runs one of the project's commands, given by the name of a fixture."""
    return container(
        image="{celery_base_worker_image.id}",
        command=fxtr(command),
        environment=fxtr("environment"),
        volumes=fxtr("shared_folders"),
        working_dir=str(ROOT),
        user=f"{os.getuid()}:{os.getgid()}",
        network_mode="host",
        wrapper_class=wrapper_class,
        timeout=DEFAULT_WORKER_CONTAINER_TIMEOUT,
    )


default_worker_container = project_container("default_worker_command", WorkerContainer)
second_worker_container = project_container("second_worker_command", WorkerContainer)
beat_container = project_container("beat_command", BeatContainer)
default_worker_command = constant(WorkerContainer.command("-n", "first@system-tests"))
second_worker_command = constant(WorkerContainer.command("-n", "second@system-tests"))
beat_command = constant(BeatContainer.command())
default_worker_cls = constant(Worker)


@pytest.fixture
def celery_worker(celery_setup_worker: Worker) -> Worker:
    return celery_setup_worker


@pytest.fixture
def worker(celery_setup: CeleryTestSetup) -> Worker:
    """The worker, when everything around it is up as well."""
    assert isinstance(celery_setup.worker, Worker)
    return celery_setup.worker


@pytest.fixture
def second_worker(second_worker_container: WorkerContainer, celery_setup_app: Celery) -> Worker:
    return Worker(container=second_worker_container, app=celery_setup_app)


# -- what the test itself uses ---------------------------------------------------------------------
@pytest.fixture
def celery_setup_app(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The project's app, but sending to the workers' broker instead of executing in place.

    While a test has it, it is Celery's current app: `warmer.tasks` sends with it as well.
    """
    broker = environment["CELERY_BROKER_URL"]
    monkeypatch.setenv("CELERY_BROKER_URL", broker)  # Celery prefers it to every setting
    with app_on(broker) as app:
        yield app


@pytest.fixture
def project(environment: Mapping[str, str], celery_setup_app: Celery) -> Project:
    """The project's commands and broker; a test whose runs need a worker asks for `worker` too."""
    return Project(environment=environment, app=celery_setup_app)
