"""Sources of changes: the tables that jobs depend on, and how to get a job's ids from a changed row.

A path such as `post__author_id` of a comment passes through other tables. A change there affects the ids too,
so each table along the path is a source of its own, with the rest of the path. Link tables of many-to-many
fields and parents of an inherited model are sources in the same way.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import ForeignObjectRel, ManyToManyRel, Model
from django.db.models.constants import LOOKUP_SEP

from warmer.declarations.registry import jobs
from warmer.declarations.spec import Dependency, JobSpec
from warmer.exceptions import DeclarationError

Compared = tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Dependent:
    """A job that depends on a table, and how to get its ids from a changed row.

    Attributes:
        compared: an update counts if it changes one of these columns. None: every update counts.
        fields: the recorded columns that determine the ids. Without a path they are the ids.
        path: the path to the ids from the rows that `fields` refer to, or from the row itself (`from_row`).
        function: returns the ids of a row that has only `fields`.
    """

    spec: JobSpec
    model: type[Model]
    compared: Compared
    fields: tuple[Any, ...] = ()
    path: str = ""
    from_row: bool = False
    function: Callable[[Any], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table, with the columns of which an update must change one to be recorded.

    Attributes:
        name: its name in records, e.g. `users_customuser(email,first_name)`.
        fields: the fields of the columns that are recorded of a changed row.
    """

    table: str
    name: str
    model: type[Model]
    compared: Compared
    fields: tuple[Any, ...]
    dependents: tuple[Dependent, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The recorded columns."""
        return tuple(map(column_of, self.fields))


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All sources of the declared jobs, and jobs by their key, which jobs of different caches may share."""

    by_key: Mapping[str, Sequence[JobSpec]]
    by_name: Mapping[str, Source]
    by_table: Mapping[str, Sequence[Source]]
    names_of: Mapping[JobSpec, set[str]]

    def of_model(self, model: type[Model]) -> list[Source]:
        """Return the sources that hold a model's rows, including those of its parents."""
        tables = (each._meta.db_table for each in tables_of(model))
        return [source for table in tables for source in self.by_table.get(table, ())]

    def links_of(self, model: type[Model]) -> list[tuple[Source, Any]]:
        """Return the automatic link tables of a model's rows, each with its key to the model.

        Django deletes their rows without a signal.
        """
        mine = tables_of(model)
        return [
            (source, key)
            for source in self.by_name.values()
            if source.model._meta.auto_created
            for key in source.model._meta.concrete_fields
            if key.is_relation and concrete(key.related_model) in mine
        ]


def source_name(table: str, compared: Iterable[str] | None) -> str:
    """Return the name in records of a table of which some columns, or (None) all, are compared."""
    return table if compared is None else f"{table}({','.join(compared)})"


def column_of(field: Any) -> str:
    """Return the name of a field's column, without the quotes that a `db_column` may have."""
    column: str = field.column
    return column.strip('"')


def sources() -> Sources:
    """Return the sources of the currently declared jobs."""
    return _collect(jobs.version)


@lru_cache(maxsize=1)
def _collect(_version: int) -> Sources:
    found: dict[tuple[str, Compared], list[Dependent]] = defaultdict(list)
    by_key: dict[str, list[JobSpec]] = defaultdict(list)
    for spec in jobs.specs():
        by_key[str(spec.key)].append(spec)
        for dependent in _dependents(spec):
            found[dependent.model._meta.db_table, dependent.compared].append(dependent)
    by_name: dict[str, Source] = {}
    by_table: dict[str, list[Source]] = defaultdict(list)
    names_of: dict[JobSpec, set[str]] = defaultdict(set)
    for (table, compared), dependents in found.items():
        recorded = {column_of(field): field for each in dependents for field in each.fields}
        source = Source(
            table=table,
            name=source_name(table, compared),
            model=dependents[0].model,
            compared=compared,
            fields=tuple(recorded[column] for column in sorted(recorded)),
            dependents=tuple(dependents),
        )
        by_name[source.name] = source
        by_table[table].append(source)
        for each in dependents:
            names_of[each.spec].add(source.name)
    return Sources(by_key=dict(by_key), by_name=by_name, by_table=dict(by_table), names_of=names_of)


def _dependents(spec: JobSpec) -> list[Dependent]:
    found: dict[Dependent, None] = {}
    for dependency in jobs.dependencies(spec):
        model = concrete(dependency.model)
        try:
            for table in tables_of(model):
                for each in _of_table(spec, dependency, model, table):
                    compared = each.compared
                    if compared is not None:  # two rows may swap all values but the primary key
                        own = _columns([*each.model._meta.pk_fields, *each.fields])
                        compared = tuple(sorted({*compared, *own}))
                    found[replace(each, compared=compared)] = None
        except (AttributeError, FieldDoesNotExist, TypeError, ValueError):
            raise DeclarationError(
                f"The job {spec.name!r} ({spec.declared_at}) gets the ids of a changed "
                f"{dependency.label} from {dependency.ids!r}, and warmer cannot follow this kind of relation "
                "to the tables on its way: name a column, or give a function of the row."
            ) from None
    return list(found)


def _of_table(
    spec: JobSpec, dependency: Dependency, model: type[Model], table: type[Model]
) -> Iterator[Dependent]:
    """Yield the dependents that a dependency on a model creates for one of the tables that hold its rows."""
    own, named = table._meta.local_concrete_fields, dependency.fields
    compared: Compared = None
    if named is not None:
        compared = _columns(each for each in own if not {each.name, each.attname}.isdisjoint(named))
    ids = dependency.ids
    steps = ids.split(LOOKUP_SEP) if isinstance(ids, str) else None
    if table is not model:
        ids = None  # a function needs the child's row, which is not available here
        steps = _steps_from_parent(steps, model, table) if steps else None
        if steps is None and compared == ():
            return  # the parent's row is created and deleted with the child's
    if steps is not None:
        yield from _follow(spec, table, steps, compared)
    elif not callable(ids):
        yield Dependent(spec=spec, model=table, compared=compared)
    else:
        columns = {*(compared or ()), *_columns(table._meta.pk_fields)}
        fields = tuple(field for field in own if column_of(field) in columns)
        yield Dependent(spec=spec, model=table, compared=compared, fields=fields, function=ids)


def _columns(fields: Iterable[Any]) -> tuple[str, ...]:
    return tuple(sorted(set(map(column_of, fields))))


def _follow(spec: JobSpec, model: Any, steps: Sequence[str], compared: Compared) -> Iterator[Dependent]:
    """Yield the dependents of a path from a model's row, including those for the tables along the path.

    Args:
        compared: the columns that `fields=` names; of a table along the path, those by which it arrives.
    """
    model, (first, *rest) = concrete(model), steps
    if (field := _field(model, first)) is not None:
        path = LOOKUP_SEP.join(rest)
        yield Dependent(spec=spec, model=model, compared=compared, fields=(field,), path=path)
        if rest:
            yield from _follow(spec, field.related_model, rest, _columns([field.target_field]))
        return
    far = model._meta.get_field(first)
    if concrete(far.model) is not model and (link := model._meta.get_ancestor_link(far.model)):
        # Inherited fields are found from the parent's row, which may outlive the child's.
        yield from _follow(spec, model, [link.name, *steps], compared)
        return
    path, own = LOOKUP_SEP.join(steps), tuple(model._meta.pk_fields)
    yield Dependent(spec=spec, model=model, compared=compared, fields=own, path=path, from_row=True)
    there, links = far.related_model, [getattr(far, "field", None)]
    if far.many_to_many:
        there, link, other = link_table(far)
        rest, links = [other.name, *rest], [link]
    elif not isinstance(far, ForeignObjectRel):  # a generic relation
        names = far.object_id_field_name, far.content_type_field_name
        links = [there._meta.get_field(name) for name in names]
    yield from _follow(spec, there, rest or ["pk"], _columns(links))


def _field(model: Any, name: str) -> Any:
    """Return the field of a model's own table that a step names; None if the step leads elsewhere."""
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    if field not in model._meta.concrete_fields:
        return None  # a many-to-many field claims to be concrete, too
    if concrete(field.model) is concrete(model):
        return field
    link = model._meta.get_ancestor_link(field.model)
    return link if field.primary_key and link is not None else None


def link_table(far: Any) -> tuple[Any, Any, Any]:
    """Return a many-to-many field's through model, and its keys to this side and to the other."""
    is_reverse = isinstance(far, ManyToManyRel)
    field = far.field if is_reverse else far
    through = field.remote_field.through
    names = [field.m2m_field_name(), field.m2m_reverse_field_name()]
    here, there = (through._meta.get_field(name) for name in (names[::-1] if is_reverse else names))
    return through, here, there


# -- inherited models --------------------------------------------------------------------------------
def concrete(model: Any) -> type[Model]:
    """Return the model whose table a model uses: itself, or the concrete model of a proxy."""
    return model._meta.concrete_model  # type: ignore[no-any-return]


def tables_of(model: type[Model]) -> list[type[Model]]:
    """Return the models whose tables hold a model's row: itself and its parents."""
    return list(dict.fromkeys(map(concrete, (model, *model._meta.get_parent_list()))))


def _steps_from_parent(steps: list[str], child: Any, parent: Any) -> list[str] | None:
    """Convert a path from a child model to one from its parent; None: a link has no name."""
    if own := _own(steps, child, parent):
        return own
    for each in child._meta.get_base_chain(concrete(parent)):
        link = child._meta.parents[each]
        if link.remote_field.hidden:
            return None
        steps = [link.related_query_name(), *steps]
        child = each
    return steps


def _own(steps: list[str], child: Any, parent: Any) -> list[str] | None:
    """Return a path relative to the parent, if it begins with a field of the parent itself."""
    field = child._meta.pk if steps[0] == "pk" else child._meta.get_field(steps[0])
    if concrete(field.model) in tables_of(parent):
        return [field.name, *steps[1:]]
    if not (field.concrete and field.is_relation and field.remote_field.parent_link):
        return None
    return _own(steps[1:] or [field.target_field.name], field.related_model, parent)
