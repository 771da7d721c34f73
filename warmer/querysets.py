"""Querysets and managers whose bulk methods invalidate what they touch.

    class Post(models.Model):
        objects = WarmingManager()

        class Meta:
            base_manager_name = "objects"  # also for `user.posts.add(...)` and `on_delete=SET_NULL`

`update`, `bulk_create`, `bulk_update` and `delete` send no signals, or one a row. With these classes they
invalidate at the commit, whatever a row gives before the change and after it, for one query more at the
most, and another after the commit where the ids are in other tables. Arguments, results and errors are
Django's. A model that no job depends on costs nothing.

An existing queryset takes `WarmingQuerySetMixin` as its first base.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import connections, transaction
from django.db.models import Manager, Model, QuerySet, sql

from warmer import pending
from warmer.changes import EVERY_KEY, IN_LIMIT, Ids, by_pk, chunks, is_fixed, is_moved_by
from warmer.far_rows import Elsewhere
from warmer.inserts import Insert, ids_of, values_to_write
from warmer.invalidation import Found, expect, record_all
from warmer.new_values import NewValues, new_value
from warmer.registry import Concern, jobs
from warmer.rows import look

if TYPE_CHECKING:

    class _Base(QuerySet[Any]):
        """What a queryset has beside its public interface."""

        _fields: tuple[str, ...] | None

        def _chain(self) -> Any: ...
        def _clone(self) -> Any: ...

else:
    _Base = object

M = TypeVar("M", bound=Model)

# A condition that only the columns of the row itself decide: no subquery, and no function, which may
# answer otherwise a moment later.
_NOT_OF_THE_ROW = re.compile(r"\bSELECT\b|\bCURRENT_|\w\(", re.IGNORECASE)


class WarmingQuerySetMixin(_Base):
    """Makes the bulk methods of a queryset invalidate what they touch."""

    # Set on a queryset whose changes another method has seen to already.
    _warmer_seen = False

    def update(self, **kwargs: Any) -> int:
        """Update the rows as Django does; invalidate for the ids they have and for those they get."""
        concerns = self._warmer_concerns()
        if not concerns or self.query.is_sliced or self.query.combinator:
            return super().update(**kwargs)
        self._for_write = True
        query: Any = self.query.chain(sql.UpdateQuery)
        query.add_update_values(kwargs)  # raises what is wrong with the names
        with _transaction(self.db, concerns):
            if all(concern.dependency.ids is None for concern in concerns):
                count = super().update(**kwargs)
                if count:
                    _record(concerns, EVERY_KEY, using=self.db)
                return count
            return self._warmer_change(
                concerns,
                new=self._warmer_new(concerns, kwargs),
                change=lambda rows: _plain(rows).update(**kwargs),
            )

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(self, objs: Iterable[Any], fields: Iterable[str], batch_size: int | None = None) -> int:
        """Update fields of the objects as Django does; invalidate for the ids they had and now have."""
        concerns = self._warmer_concerns()
        objs = tuple(objs)
        if not concerns or not objs:
            return super().bulk_update(objs, fields, batch_size=batch_size)
        fields = list(fields) if fields else []
        self._for_write = True
        fixed = [concern for concern in concerns if is_fixed(concern, self.model)]
        moving = [concern for concern in concerns if concern not in fixed]
        seen = self._chain()
        seen._warmer_seen = True
        with _transaction(self.db, concerns):
            found, again = self._warmer_look_at(objs, fields, moving) if moving else ([], [])
            count: int = _plain(seen).bulk_update(objs, fields, batch_size=batch_size)
            record_all([*found, *((each, ids_of(each, objs)) for each in fixed)], using=self.db, again=again)
        return count

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(
        self,
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[Any]:
        """Insert the objects as Django does; invalidate for their ids, and for those of rows in conflict."""
        options: dict[str, Any] = {
            "batch_size": batch_size,
            "ignore_conflicts": ignore_conflicts,
            "update_conflicts": update_conflicts,
            "update_fields": update_fields,
            "unique_fields": unique_fields,
        }
        concerns = self._warmer_concerns()
        if not concerns or not objs:
            return super().bulk_create(objs, **options)
        objs = list(objs)
        self._for_write = True
        with _transaction(self.db, concerns):
            insert = Insert(
                model=self.model,
                using=self.db,
                concerns=concerns,
                objs=objs,
                on_conflict="ignore" if ignore_conflicts else "update" if update_conflicts else "fail",
                update_fields=tuple(update_fields or ()),
                unique_fields=tuple(unique_fields or ()),
            )
            insert.look_before()
            created = super().bulk_create(objs, **options)
            found, again = insert.found()
            record_all(found, using=self.db, again=again)
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows as Django does; invalidate for the ids that they have.

        Django sends a signal for each row that concerns a job, also for rows that go with them. Here what
        they ask for is kept together.
        """
        concerns = self._warmer_concerns()
        query = self.query
        refused = query.is_sliced or query.combinator or query.distinct_fields or self._fields is not None
        if not concerns or refused:
            return super().delete()
        self._for_write = True
        with _transaction(self.db, concerns), pending.together(using=self.db):
            rows: Any = self
            if self.model._meta.auto_created:  # for the rows of a table that Django made there are no signals
                seen = look(self._warmer_rows(plain=self._warmer_is_plain()), concerns, lock=True)
                if len(seen.pks) <= IN_LIMIT:
                    record_all(seen.found, using=self.db, again=seen.referred)
                    rows = self.filter(pk__in=seen.pks)
                else:
                    _record(concerns, EVERY_KEY, using=self.db)
            deleted: tuple[int, dict[str, int]] = _plain(rows).delete()
        self._result_cache = None
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _raw_delete(self, using: str | None) -> int:
        """Delete without signals or cascades, as Django does for rows that need neither."""
        concerns = self._warmer_concerns()
        if not concerns:
            return super()._raw_delete(using)
        rows = self.using(using)
        with _transaction(rows.db, concerns):
            return rows._warmer_change(
                concerns, new={}, change=lambda some: _plain(some)._raw_delete(using), goes=True
            )

    _raw_delete.alters_data = True  # type: ignore[attr-defined]

    def _clone(self) -> Any:
        clone = super()._clone()
        clone._warmer_seen = self._warmer_seen
        return clone

    def _warmer_concerns(self) -> tuple[Concern, ...]:
        return () if self._warmer_seen else jobs.concerned(self.model)

    def _warmer_change(
        self, concerns: Sequence[Concern], *, new: NewValues, change: Any, goes: bool = False
    ) -> int:
        """Look at the rows, lock them, change exactly these, and record; inside a transaction.

        With locks, conditions on the row alone match the same rows once more, but for rows that others
        add: then the counts differ, and all keys go. Any other condition is narrowed to the rows seen.
        """
        plain = self._warmer_is_plain()
        seen = look(self._warmer_rows(plain=plain), concerns, new=new, lock=True)
        self._result_cache = None
        if not seen.pks:
            return 0
        if plain:
            count: int = change(self)
        else:
            count = sum(change(self.filter(pk__in=some)) for some in chunks(seen.pks, IN_LIMIT // 2))
        if plain and count != len(seen.pks):
            _record(concerns, EVERY_KEY, using=self.db)
        else:
            record_all(seen.found, using=self.db, again=seen.referred if goes else seen.again)
        return count

    def _warmer_is_plain(self) -> bool:
        """Say whether only the columns of the rows themselves decide which rows match."""
        query = self.query.clone()
        if query.distinct or query.group_by is not None or query.extra_tables or self._fields is not None:
            return False
        query.get_initial_alias()
        if query.count_active_tables() > 1:
            return False
        try:
            condition, _ = query.get_compiler(self.db).compile(query.where)
        except (EmptyResultSet, FullResultSet):
            return True
        return _NOT_OF_THE_ROW.search(condition) is None

    def _warmer_rows(self, *, plain: bool) -> QuerySet[Any]:
        """Return the rows as a query that can be locked: one that is neither grouped nor distinct."""
        rows: QuerySet[Any] = QuerySet(self.model, using=self.db)
        if not plain:
            return rows.filter(pk__in=self.order_by().values("pk"))
        rows.query.get_initial_alias()
        rows.query.where = self.query.where.clone()
        return rows

    def _warmer_new(self, concerns: Sequence[Concern], assigned: Mapping[str, Any]) -> NewValues:
        """Return the new values that decide about ids; all of them where a function wants the row."""
        new = {}
        for name, value in assigned.items():
            column: Any = self.model._meta.get_field(name)
            if any(is_moved_by(concern, self.model, [column.attname]) for concern in concerns):
                new[column.attname] = new_value(column, value, annotations=self.query.annotations)
        return new

    def _warmer_look_at(
        self, objs: Sequence[Model], fields: Sequence[str], concerns: Sequence[Concern]
    ) -> tuple[Found, list[Elsewhere]]:
        """Read, and lock, the rows of objects that are to be written; tell also whom to ask again."""
        pk: Any = self.model._meta.pk
        columns = [self.model._meta.get_field(name) for name in fields]
        news: dict[Any, list[NewValues]] = {}
        for obj in objs:
            news.setdefault(pk.to_python(obj.pk), []).append(values_to_write(obj, columns))
        found: Found = []
        again: list[Elsewhere] = []
        for some in chunks(news, IN_LIMIT):
            rows = by_pk(self.model, some, self.db)
            seen = look(rows, concerns, new_of=lambda values: news.get(values[pk.attname], ({},)), lock=True)
            found += seen.found
            again += seen.again
        return found, again


def _plain(rows: Any) -> Any:
    """Return the methods that the mixin's stand before."""
    return super(WarmingQuerySetMixin, rows)


class WarmingQuerySet(WarmingQuerySetMixin, QuerySet[M]):
    """A queryset whose bulk methods invalidate what they touch."""


class WarmingManager(Manager.from_queryset(WarmingQuerySet)[M]):  # type: ignore[misc]
    """A manager with `WarmingQuerySet`'s methods."""


@contextmanager
def _transaction(using: str, concerns: Iterable[Concern]) -> Iterator[None]:
    """A transaction, in which what was looked at stays as it is until it is changed.

    SQLite locks no rows: there it begins with the write lock, and does not fail for what another wrote
    between the look and the change. Methods of the project's that come after ours may read what they wrote.
    """
    connection: Any = connections[using]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic(using=using, savepoint=False):
            expect(concerns, using=using)
            yield
        return
    connection.ensure_connection()  # it reads the settings
    mode = connection.transaction_mode
    connection.transaction_mode = mode or "IMMEDIATE"
    try:
        with transaction.atomic(using=using, savepoint=False):
            expect(concerns, using=using)
            yield
    finally:
        connection.transaction_mode = mode


def _record(concerns: Iterable[Concern], ids: Ids, *, using: str) -> None:
    record_all([(concern, ids) for concern in concerns], using=using)
