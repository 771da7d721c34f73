"""The registry: every declared job, by name, and which of them a model's change concerns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP

from warmer.exceptions import DeclarationError, UnknownJob
from warmer.inheritance import as_child_has_it, as_parent_has_it, concrete, rows_of
from warmer.spec import Dependency, JobSpec
from warmer.stores import share_keys


class Declared(Protocol):
    """A job object, as `@warm` and `@warm_many` return it."""

    @property
    def spec(self) -> JobSpec: ...


@dataclass(frozen=True, kw_only=True)
class Concern:
    """A job that a model's changes concern, and how.

    Attributes:
        spec: the job.
        dependency: what a change of a row means, in terms of the model that is changed.
        declared: what the job says, perhaps of a model that inherits from that one.
    """

    spec: JobSpec
    dependency: Dependency
    declared: Dependency

    @property
    def is_of_child(self) -> bool:
        """Whether it is the child of a changed row that the job depends on: a new row has none."""
        return self.dependency.model is not self.declared.model


class Registry(Mapping[str, Declared]):
    """Declared jobs: `jobs["user_profiles"]` is the object that `@warm_many` returned."""

    def __init__(self) -> None:
        self._jobs: dict[str, Declared] = {}
        self._concerns: dict[type[Model], tuple[Concern, ...]] | None = None
        self._tables: dict[str, tuple[Concern, ...]] | None = None

    def __getitem__(self, name: str) -> Declared:
        """Return a job.

        Raises:
            UnknownJob: it names the nearest ones.
        """
        try:
            return self._jobs[name]
        except KeyError:
            raise UnknownJob(name, self._jobs) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def register(self, job: Declared) -> None:
        """Take in a job.

        Raises:
            DeclarationError: its name or its keys are those of another job, or a model that it
                depends on does not exist (checked when Django's own registry is ready).
        """
        spec = job.spec
        for other in self.specs():
            if other.name == spec.name:
                raise DeclarationError(
                    f"The job {spec.name!r} ({spec.declared_at}) has the name of the one declared at "
                    f"{other.declared_at}: give one of them another name=."
                )
            if other.key.collides(spec.key) and share_keys(other.cache, spec.cache):
                place = "" if other.cache == spec.cache else f" in {other.cache!r}, which is the same cache"
                raise DeclarationError(
                    f"The job {spec.name!r} ({spec.declared_at}) has the key '{spec.key}', which can be "
                    f"the same as '{other.key}' of {other.name!r} ({other.declared_at}){place}: "
                    "give one of them another key."
                )
        if apps.models_ready:
            _resolve(spec)
        self._jobs[spec.name] = job
        self._concerns = self._tables = None

    def unregister(self, name: str) -> None:
        """Forget a job; for tests."""
        del self._jobs[name]
        self._concerns = self._tables = None

    def specs(self) -> list[JobSpec]:
        """Return what was declared, in the order of declaration."""
        return [job.spec for job in self._jobs.values()]

    def check_models(self) -> None:
        """Check the models of jobs that were declared before Django's models were ready.

        Raises:
            DeclarationError: a model or a field that a job names does not exist.
        """
        for spec in self.specs():
            _resolve(spec)

    def models_of(self, spec: JobSpec) -> set[type[Model]]:
        """Return the models whose changes concern a job: those named, with proxies, children and parents."""
        named = {concrete(dependency.model) for dependency in _resolve(spec)}
        parents = set().union(*map(rows_of, named))
        every = apps.get_models(include_auto_created=True)
        return {model for model in every if named & rows_of(model) or concrete(model) in parents}

    def concerned(self, model: type[Model]) -> tuple[Concern, ...]:
        """Return the jobs that a change of one of the model's rows concerns."""
        if self._concerns is None:
            self._concerns = {}
        if model not in self._concerns:
            self._concerns[model] = tuple(self._find(model))
        return self._concerns[model]

    def tables(self) -> Mapping[str, tuple[Concern, ...]]:
        """Return the tables whose rows jobs depend on, by their names in `_meta.db_table`.

        A row of a model is in the tables of its parents, too.
        """
        if self._tables is None:
            tables: dict[str, list[Concern]] = defaultdict(list)
            for spec in self.specs():
                for dependency in _resolve(spec):
                    concern = Concern(spec=spec, dependency=dependency, declared=dependency)
                    for model in rows_of(concrete(dependency.model)):
                        tables[model._meta.db_table].append(concern)
            self._tables = {name: tuple(concerns) for name, concerns in tables.items()}
        return self._tables

    def _find(self, model: type[Model]) -> Iterator[Concern]:
        for spec in self.specs():
            for dependency in _resolve(spec):
                named = concrete(dependency.model)
                if named in rows_of(model):
                    here = as_child_has_it(dependency, model)
                elif concrete(model) in rows_of(named):
                    here = as_parent_has_it(dependency, model)
                else:
                    continue
                yield Concern(spec=spec, dependency=here, declared=dependency)


jobs = Registry()
"""The jobs of the project."""


def _resolve(spec: JobSpec) -> tuple[Dependency, ...]:
    """Return the dependencies with models for labels, and their fields checked."""
    return tuple(_resolve_one(spec, dependency) for dependency in spec.depends_on)


def _resolve_one(spec: JobSpec, dependency: Dependency) -> Dependency:
    model = dependency.model
    if isinstance(model, str):
        try:
            model = apps.get_model(model)
        except (LookupError, ValueError) as error:
            raise _wrong(
                spec,
                f"depends on {dependency.model!r}, which is no model: {str(error).rstrip('.')}. "
                "Write the class, or 'app_label.ModelName'",
            ) from None
    if model._meta.abstract:
        raise _wrong(spec, f"depends on {model.__name__}, which is abstract: name the models that inherit it")
    if model._meta.swapped:
        raise _wrong(
            spec,
            f"depends on {model._meta.label}, which is swapped out for {model._meta.swapped}: name that one, "
            "or django.contrib.auth.get_user_model()",
        )
    if isinstance(dependency.ids, str):
        _check_path(spec, model, dependency.ids)
    return replace(dependency, model=model)


def _check_path(spec: JobSpec, model: type[Model], path: str) -> None:
    step_model: Any = model
    steps = path.split(LOOKUP_SEP)
    for number, step in enumerate(steps):
        if step_model is None:
            raise _wrong(
                spec,
                f"takes the ids of a changed {model._meta.label} from {path!r}, but nothing can follow a "
                f"plain column, as {step!r} does there",
            )
        try:
            field = step_model._meta.pk if step == "pk" else step_model._meta.get_field(step)
        except FieldDoesNotExist:
            raise _wrong(
                spec,
                f"takes the ids of a changed {model._meta.label} from {path!r}, but {step_model._meta.label} "
                f"has no field {step!r}. Name a field, e.g. 'id' or 'post_id', or give a function of the "
                "instance",
            ) from None
        step_model = field.related_model
        if step_model is None and not field.concrete:
            instead = "Name a column"
            if column := getattr(field, "fk_field", None):  # of a generic foreign key
                instead = f"Write {LOOKUP_SEP.join([*steps[:number], column])!r}, where the id is"
            raise _wrong(
                spec,
                f"takes the ids of a changed {model._meta.label} from {path!r}, but {step!r} is a "
                f"{type(field).__name__}, which has no column of its own. {instead}, or give a function of "
                "the instance",
            )


def _wrong(spec: JobSpec, what: str) -> DeclarationError:
    return DeclarationError(f"The job {spec.name!r} ({spec.declared_at}) {what}.")
