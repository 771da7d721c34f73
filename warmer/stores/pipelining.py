"""What was asked of a cache, and whose answer may still be to come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class UnderWay(ABC, Generic[T]):
    """Something that is under way: it is ended, or else abandoned."""

    @abstractmethod
    def end(self) -> T:
        """Wait for the cache's answer, and return what it says.

        Raises:
            StoreUnavailable: the cache does not answer.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Wait for nothing any more; what came of it is not known. When it has ended, do nothing."""


@dataclass(frozen=True, kw_only=True)
class Over(UnderWay[T]):
    """Something that was over when it began."""

    result: T

    def end(self) -> T:
        return self.result

    def abandon(self) -> None:
        """Do nothing: it is over."""
