"""The image and the services around it: what their files say, as far as that shows without an engine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from compose_spec import PyCompose, parse_duration
from docker.utils import exclude_paths

from config.settings import base
from embedded.redis_server import RedisServer
from tests.support.fixtures import Python
from tests.support.processes import ROOT, run

COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()

OURS = ("release", "web", "worker", "beat")
SERVERS = ("cache", "broker", "database")
SERVICES = (*OURS, *SERVERS)

# What compose replaces: `$$`, `${NAME:-default}`, `${NAME:?message}`.
REPLACED = re.compile(r"\$(?:\$|\{(?P<name>\w+):(?P<kind>[-?])(?P<rest>[^}]*)\})")
# `.env.example` gives a secret no value, and others commented out, with an example.
SECRETS = {name: f"the-{name.lower()}" for name in re.findall(r"^(\w+)=$", EXAMPLE, re.MULTILINE)}

Services = dict[str, dict[str, Any]]
Shell = Callable[..., subprocess.CompletedProcess[str]]


def interpolated(**variables: str) -> str:
    """Return docker-compose.yml as compose reads it, with these variables in .env."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        given = variables.get(match["name"])
        if not given and match["kind"] == "?":
            raise LookupError(f"{match['name']}: {match['rest']}")
        return given or match["rest"]

    return REPLACED.sub(value, COMPOSE)


def read_services(**variables: str) -> Services:
    services: Services = json.loads(PyCompose.from_yaml(interpolated(**variables)).to_json())["services"]
    return services


@pytest.fixture(scope="module")
def services() -> Services:
    return read_services(**SECRETS)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a function that runs a command with programs of ours in front of those on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def shell(command: list[str], **programs: str) -> subprocess.CompletedProcess[str]:
        for name, script in programs.items():
            program = folder / name
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        return run(*command, cwd=tmp_path, env={"PATH": f"{folder}:{os.environ['PATH']}"})

    return shell


def check(*command: str | Path) -> None:
    """Run a tool of the virtual environment, which must find nothing."""
    program = Path(sys.executable).parent / command[0]
    done = run(program, *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_files__are_well_formed(services: Services, tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(interpolated(**SECRETS))
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml", file)
    check("hadolint", ROOT / "Dockerfile")
    PyCompose.from_yaml(file.read_text()).validate()
    assert set(services) == set(SERVICES)


def test_image__is_of_a_python_that_we_support__not_roots__without_a_secret() -> None:
    (version,) = re.findall(r"^FROM python:(3\.\d+)-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert f'"Programming Language :: Python :: {version}"' in (ROOT / "pyproject.toml").read_text()
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", DOCKERFILE.strip().splitlines()[-1])
    kept = re.findall(r"^(?:ENV|ARG) (?:.*\\\n)*.*", DOCKERFILE, re.MULTILINE)
    assert not [line for line in kept if re.search("SECRET|PASSWORD|_URL", line)]


def test_image__is_built_once(services: Services) -> None:
    builders = [name for name in SERVICES if "build" in services[name]]
    assert builders == ["release"]
    assert services["release"]["pull_policy"] == "build"
    for name in ("web", "worker", "beat"):
        assert services[name]["image"] == services["release"]["image"]
        assert services[name]["pull_policy"] == "never"  # no registry has it
        assert "release" in services[name]["depends_on"]


def test_image__contains_what_runs_and_nothing_else() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    sent = {path for path in exclude_paths(str(ROOT), patterns) if not (ROOT / path).is_dir()}
    sent -= {"Dockerfile", ".dockerignore"}  # the builder reads these, and leaves them out by itself
    packages = {"config", *(app for app in base.INSTALLED_APPS if (ROOT / app).is_dir())}
    code = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    # A link in warmer/ leads to the runbook.
    assert sent == {"manage.py", "requirements.txt", "docs/operations.md"} | code


def test_environment__production_starts_with_it(python: Python) -> None:
    services = read_services(**SECRETS, INSECURE_HTTP="0", ALLOWED_HOSTS="example.com")
    environments = [services[name]["environment"] for name in OURS]
    assert all(environment == environments[0] for environment in environments)
    assert environments[0]["DJANGO_ENV"] == "production"
    code = (
        "import django\nfrom django.conf import settings as s\ndjango.setup()\n"
        "print(s.DEBUG, s.SECURE_SSL_REDIRECT, *s.ALLOWED_HOSTS)\n"
        "print(s.DATABASES['default']['HOST'], s.CACHES['default']['LOCATION'], s.CELERY_BROKER_URL)"
    )
    done = python(code, DJANGO_SETTINGS_MODULE="config.settings", **environments[0])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False True localhost 127.0.0.1 example.com",
        "database redis://:the-cache_password@cache:6379/0 redis://:the-broker_password@broker:6379/0",
    ]


@pytest.mark.parametrize("name", SECRETS)
def test_secret__that_is_missing_or_empty_is_named(name: str) -> None:
    for variables in (SECRETS | {name: ""}, {key: SECRETS[key] for key in SECRETS if key != name}):
        with pytest.raises(LookupError, match=f"{name}: set it in .env, see .env.example"):
            interpolated(**variables)


def test_secret__none_is_in_the_file(services: Services) -> None:
    found = set()
    for service in services.values():
        for name, value in service["environment"].items():
            if re.search("SECRET|PASSWORD|AUTH", name):
                found.add(value)
            elif "://" in value:
                found.add(urlsplit(value).password)
    for name in ("cache", "broker"):
        found.add(redis_options(services[name])["requirepass"])
    assert found == set(SECRETS.values())


def test_env_example__has_the_variables_of_the_compose_file() -> None:
    used = {match["name"] for match in REPLACED.finditer(COMPOSE)} - {None}
    assert set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)) == used
    assert "$" not in REPLACED.sub("", re.sub("^#.*", "", COMPOSE, flags=re.MULTILINE))


def test_env_example__becomes_env_by_the_command_in_the_compose_file(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    lines = [line.removeprefix("#").strip() for line in COMPOSE.splitlines()]
    first = next(number for number, line in enumerate(lines) if "awk" in line)
    command = "\n".join(lines[first : first + 2])
    done = shell(["sh", "-c", command], openssl='echo x >>n; echo "random$(wc -l <n | tr -d " ")"')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    made = (tmp_path / ".env").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", made, re.MULTILINE))
    assert values == {name: f"random{number}" for number, name in enumerate(SECRETS, start=1)}
    assert re.sub("(?<==)random.*", "", made) == EXAMPLE


def redis_options(service: Mapping[str, Any]) -> dict[str, str]:
    program, *options = service["command"]
    assert program == "redis-server"
    assert all(option.startswith("--") for option in options[::2])
    return {option[2:]: value for option, value in zip(options[::2], options[1::2], strict=True)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cache", {"maxmemory-policy": "allkeys-lru", "appendonly": "yes", "maxmemory": str(256 * 2**20)}),
        ("broker", {"maxmemory-policy": "noeviction", "appendonly": "yes", "maxmemory": "0"}),
    ],
)
def test_redis__as_a_server_takes_its_options(services: Services, name: str, expected: dict[str, str]) -> None:
    options = redis_options(services[name])
    # The client of the tests has no password: that the server asks for one is looked at elsewhere.
    assert options.pop("requirepass") == services[name]["environment"]["REDISCLI_AUTH"]
    with RedisServer(options=options) as server, server.client() as client:
        assert {option: client.config_get(option)[option] for option in expected} == expected


def test_services__data_ports_restarts_order_and_commands(services: Services) -> None:
    for name in SERVERS:
        (volume,) = services[name]["volumes"]
        assert volume.startswith(f"{name}:/")
    # Only the web has a port, and only for this machine.
    ports = {name: services[name]["ports"] for name in SERVICES if services[name].get("ports")}
    assert ports == {"web": ["127.0.0.1:8000:8000"]}
    assert services["release"]["restart"] == "no"
    for name in set(SERVICES) - {"release"}:
        assert services[name]["healthcheck"]["test"]
        assert services[name]["restart"] == "unless-stopped"

    def conditions(*names: str, of: tuple[str, ...]) -> set[str]:
        return {services[name]["depends_on"][each]["condition"] for name in names for each in of}

    assert conditions("web", "beat", of=("release",)) == {"service_completed_successfully"}
    assert conditions("release", "worker", of=SERVERS) == {"service_healthy"}
    # The release may join a run that only a worker can bring to its end.
    assert conditions("worker", of=("release",)) == {"service_started"}

    # There is time for the longest task.
    seconds = parse_duration(services["worker"]["stop_grace_period"])
    assert seconds > base.CELERY_TASK_TIME_LIMIT + base.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT
    assert services["beat"]["command"].startswith("celery -A config beat ")
    assert services["web"]["command"].startswith("gunicorn config.wsgi ")


def test_release__migrates_then_warms(services: Services, shell: Shell) -> None:
    done = shell(services["release"]["command"], python='echo "$@"')
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["manage.py migrate --noinput", "manage.py warm_cache --inline --trigger deploy"]
    for step in ("migrate", "warm_cache"):  # it fails with its first step that fails
        done = shell(services["release"]["command"], python=f'echo "$2"; [ "$2" != {step} ]')
        assert done.returncode != 0
        assert done.stdout.splitlines()[-1] == step


def test_worker__starts_when_the_database_is_migrated(services: Services, shell: Shell) -> None:
    worker = services["worker"]
    done = shell(
        [*worker["entrypoint"], *worker["command"].split()],
        python='echo "$@"; echo x >>asked; [ "$(wc -l <asked)" -eq 3 ]',
        sleep="",
        celery='echo "$PPID" celery "$@"',
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "Waiting" not in line]
    assert said[:-1] == ["manage.py migrate --check"] * 3
    # It is in the shell's place and not its child: it gets the signal to stop.
    assert said[-1].startswith(f"{os.getpid()} celery -A config worker ")


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_web__is_healthy_when_it_is_ready(services: Services, status: int, healthy: bool) -> None:
    asked = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    kind, *command = services["web"]["healthcheck"]["test"]
    assert kind == "CMD"
    with HTTPServer(("127.0.0.1", 0), Site) as site:
        thread = Thread(target=site.handle_request)
        thread.start()
        here = f'"127.0.0.1", {site.server_port}'
        code = command[-1].replace('"localhost", 8000', here)
        assert here in code
        done = run(sys.executable, "-c", code)
        thread.join()
    assert asked == ["/readyz"]
    assert (done.returncode == 0) is healthy
