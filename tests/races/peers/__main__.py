"""Try every library: `script/peers`."""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from embedded.redis_server import RedisServer
from tests.races.peers.catalogue import PEERS, Peer
from tests.races.peers.page import Row, page, table

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs" / "peers.md"


def main(arguments: list[str]) -> int:
    """Try the libraries that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="script/peers", description="Race other libraries and warmer.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="libraries, e.g. cashews (default: all)")
    parser.add_argument("--docs", action="store_true", help="write docs/peers.md; needs all libraries")
    parser.add_argument("--one", nargs=2, metavar=("NUMBER", "REDIS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        return _try_here(PEERS[int(options.one[0])], options.one[1])
    chosen = [peer for peer in PEERS if not options.names or peer.distribution in options.names]
    if not chosen or (options.docs and len(chosen) < len(PEERS)):
        parser.error("--docs is for all libraries; a name is one of " + ", ".join(_names()))
    with RedisServer() as server:
        rows = [_try_in_a_process(peer, server) for peer in chosen]
        print(table(rows))
        if options.docs:
            DOCS.write_text(page(rows, server=server.version(), versions=_versions(server)))
    return 0


def _try_in_a_process(peer: Peer, server: RedisServer) -> Row:
    command = [sys.executable, "-m", "tests.races.peers", "--one", str(PEERS.index(peer)), server.url()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer.distribution}, {peer.way}: the trial itself failed, see above.")
    return Row(peer=peer, version=_version(peer), **json.loads(done.stdout.splitlines()[-1]))


def _try_here(peer: Peer, redis_url: str) -> int:
    site = import_module("tests.races.peers.site")
    with tempfile.TemporaryDirectory(prefix="warmer-peers-") as folder:
        found = site.try_one(peer, redis_url=redis_url, folder=Path(folder))
    print(json.dumps(found))
    return 0


def _version(peer: Peer) -> str:
    if peer.distribution == "warmer":  # from the folder, not installed
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    return version(peer.distribution)


def _versions(server: RedisServer) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    installed = [f"{name} {version(name)}" for name in ("Django", "redis", "django-redis")]
    return ", ".join([f"Python {python}", server.version(), f"SQLite {sqlite3.sqlite_version}", *installed])


def _names() -> list[str]:
    return sorted({peer.distribution for peer in PEERS})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
