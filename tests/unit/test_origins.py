"""Where a statement comes from: what is read from the stack."""

from __future__ import annotations

import sys
from threading import Thread
from typing import Any

from warmer.bypass.origins import is_running, origin


def test_origin__is_the_innermost_frame_of_the_project() -> None:
    def in_the_project() -> Any:
        return origin("post")

    found = sorted([1], key=lambda _: 0) and in_the_project()
    assert found.path == __file__
    assert found.function.endswith("in_the_project")
    assert str(found).startswith("tests/unit/test_origins.py:")
    assert not found.told
    assert not found.exempt


def test_origin__without_a_frame_of_the_project_is_the_librarys() -> None:
    found: list[Any] = []
    path = f"{sys.prefix}/lib/site-packages/other/writing.py"
    scope: dict[str, Any] = {"origin": origin, "found": found}
    exec(compile("def write():\n    found.append(origin('post'))", path, "exec"), scope)
    thread = Thread(target=scope["write"])  # nothing of this file is on its stack
    thread.start()
    thread.join()
    assert (found[0].path, found[0].line, found[0].function) == (path, 2, "write")
    assert not is_running(found[0].work)


def test_is_running__until_the_function_returns() -> None:
    def work() -> Any:
        found = origin("post").work
        assert is_running(found)
        return found

    # The outermost function of the project is this test.
    assert is_running(work())


def test_is_running__no_more_when_it_has_returned() -> None:
    found: list[Any] = []
    thread = Thread(target=lambda: found.append(origin("post").work))
    thread.start()
    thread.join()
    assert not is_running(found[0])
