"""The registry: every declared job, by name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP

from warmer.declarations.spec import Dependency, JobSpec, naming
from warmer.exceptions import DeclarationError, UnknownJob, did_you_mean
from warmer.stores import share_keys


class Declared(Protocol):
    """A job object, as `@warm` and `@warm_many` return it."""

    @property
    def spec(self) -> JobSpec: ...


class Registry(Mapping[str, Declared]):
    """Declared jobs: `jobs["user_profiles"]` is the object that `@warm_many` returned.

    Attributes:
        version: a number that changes with the declared jobs, for code that caches data derived from them.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Declared] = {}
        self.version = 0

    def __getitem__(self, name: str) -> Declared:
        """Return a job.

        Raises:
            UnknownJob: there is no such job; the message names the closest ones.
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
        """Add a job.

        Raises:
            DeclarationError: another job has the same name or keys, or a model that it depends on does not
                exist (checked once Django's app registry is ready).
        """
        spec = job.spec
        with naming(spec.name, spec.declared_at):
            if spec.name in self:
                raise DeclarationError(
                    f"it has the name of the job declared at {self[spec.name].spec.declared_at}: give one of "
                    "them another name="
                )
            for other in self.specs():
                if other.key.collides(spec.key) and share_keys(other.cache, spec.cache):
                    place = (
                        "" if other.cache == spec.cache else f" in {other.cache!r}, which is the same cache"
                    )
                    raise DeclarationError(
                        f"the key '{spec.key}' can be the same as '{other.key}' of {other.name!r} "
                        f"({other.declared_at}){place}: give one of them another key"
                    )
        if apps.models_ready:
            self.dependencies(spec)
        self._jobs[spec.name] = job
        self.version += 1

    def unregister(self, name: str) -> None:
        """Remove a job; for tests."""
        del self._jobs[name]
        self.version += 1

    def specs(self) -> list[JobSpec]:
        """Return the declared jobs, in the order of declaration."""
        return [job.spec for job in self._jobs.values()]

    def check_models(self) -> None:
        """Check the models of jobs that were declared before Django's models were ready.

        Raises:
            DeclarationError: a model or a field that a job names does not exist.
        """
        for spec in self.specs():
            self.dependencies(spec)

    def dependencies(self, spec: JobSpec) -> tuple[Dependency, ...]:
        """Return what a job depends on, with model classes for labels.

        Raises:
            DeclarationError: a model or a field that the job names does not exist.
        """
        with naming(spec.name, spec.declared_at):
            return tuple(map(_resolve, spec.depends_on))


jobs = Registry()
"""The jobs of the project."""


def _resolve(dependency: Dependency) -> Dependency:
    """Return a dependency with the model for its label, and its fields checked."""
    model = dependency.model
    if isinstance(model, str):
        try:
            model = apps.get_model(model)
        except (LookupError, ValueError) as error:
            why = f": {str(error).rstrip('.')}" if isinstance(error, LookupError) else ""
            raise DeclarationError(
                f"depends_on names {dependency.model!r}, which is not a model{why}. "
                "Write the class, or 'app_label.ModelName'"
            ) from None
    if model._meta.abstract:
        raise DeclarationError(
            f"depends_on names {model.__name__}, which is abstract: name the models that inherit it"
        )
    if model._meta.swapped:
        raise DeclarationError(
            f"depends_on names {model._meta.label}, which is swapped out for {model._meta.swapped}: name "
            "that one, or django.contrib.auth.get_user_model()"
        )
    if isinstance(dependency.ids, str):
        _check_path(model, dependency.ids)
    if dependency.fields is not None:
        _check_fields(model, dependency.fields, is_of_one_table=callable(dependency.ids))
    elif callable(dependency.ids):
        raise DeclarationError(
            f"depends_on gets the ids of a changed {model._meta.label} from a function, and warmer has to "
            f"know which columns to record for it: write fields={{{model.__name__}: [...]}} with the fields "
            "that the function and the loader read"
        )
    return replace(dependency, model=model)


def _check_fields(model: type[Model], fields: Iterable[str], *, is_of_one_table: bool) -> None:
    concrete: Any = model._meta.concrete_model
    meta = concrete._meta
    known = meta.local_concrete_fields if is_of_one_table else meta.concrete_fields
    columns = {name for field in known for name in (field.name, field.attname)}
    for name in fields:
        if name not in columns:
            hint = did_you_mean(name, columns) or f"the columns are {', '.join(sorted(columns))}"
            raise DeclarationError(
                f"fields names {name!r}, which is not a column of {model._meta.label}: {hint} "
                "(for a relation or a parent's column, add that model to depends_on)"
            )


def _check_path(model: type[Model], path: str) -> None:
    whole = f"depends_on gets the ids of a changed {model._meta.label} from {path!r}, but"
    step_model: Any = model
    for step in path.split(LOOKUP_SEP):
        if step_model is None:
            raise DeclarationError(
                f"{whole} a path cannot continue after a plain column, as it does with {step!r}"
            )
        try:
            field = step_model._meta.pk if step == "pk" else step_model._meta.get_field(step)
        except FieldDoesNotExist:
            fields = step_model._meta.get_fields()
            names = (getattr(each, kind, "") for each in fields for kind in ("name", "attname"))
            hint = did_you_mean(step, names) or "name a field, e.g. 'id', or give a function of the row"
            raise DeclarationError(
                f"{whole} {step_model._meta.label} has no field {step!r}: {hint}"
            ) from None
        step_model = field.related_model
        if step_model is None and not field.concrete:
            raise DeclarationError(
                f"{whole} {step!r} is a {type(field).__name__}, which has no column of its own. Name the "
                "column with the id, such as the object_id of a GenericForeignKey, or give a function"
            )
