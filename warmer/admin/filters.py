"""The history's filter by job, and a count of its rows that does not look at all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from warmer.declarations.registry import jobs
from warmer.models import WarmingRun

# With 1,000 jobs each quarter of an hour a month has three million runs: nobody turns so many pages.
MOST_LISTED = 10_000


if TYPE_CHECKING:
    _Paginator = Paginator[WarmingRun]
else:  # at run time Django's class takes no parameter
    _Paginator = Paginator


class JobFilter(admin.SimpleListFilter):
    """The declared jobs, as one field to choose from: there may be a thousand."""

    title = "job"
    parameter_name = "job"
    template = "admin/warmer/warmingrun/job_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = sorted(jobs)
        chosen = self.value()
        if chosen and chosen not in jobs:  # one that is no longer declared has runs, too
            names.append(chosen)
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[WarmingRun]) -> QuerySet[WarmingRun]:
        return queryset.filter(job=self.value()) if self.value() else queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        others = [
            (name, value)
            for name, value in changelist.params.items()
            if name not in (self.parameter_name, "p")
        ]
        yield {
            "selected": self.value() is None,
            "display": "All",
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "others": others,
        }
        for name, _ in self.lookup_choices:
            yield {"selected": self.value() == name, "display": name}


class CappedPaginator(_Paginator):
    """A paginator that counts to a bound."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most `MOST_LISTED`."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_LISTED].count())
