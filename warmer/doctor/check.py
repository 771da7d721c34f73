"""What a check is: a small class with an id and one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from warmer.doctor.finding import Finding
from warmer.doctor.project import Cache, Project


class CacheCheck(ABC):
    """A check that is made of every cache.

    Attributes:
        id: its name, in the report and in docs/doctor.md.
        needs_redis: only of a cache in a Redis server.
        after: checks that must not have found an error in the same cache.
    """

    id: ClassVar[str]
    needs_redis: ClassVar[bool] = True
    after: ClassVar[tuple[str, ...]] = ("backend", "reachability")

    @abstractmethod
    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        """Yield what is found.

        Raises:
            NotApplicable: there is nothing to look at.
            CommandRefused: the server does not allow what the check asks.
        """


class ProjectCheck(ABC):
    """A check that is made once.

    Attributes:
        id: its name, in the report and in docs/doctor.md.
        subject: what it is about, in the report.
        after: checks that must not have found an error.
    """

    id: ClassVar[str]
    subject: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def look(self, project: Project) -> Iterator[Finding]:
        """Yield what is found.

        Raises:
            NotApplicable: there is nothing to look at.
        """
