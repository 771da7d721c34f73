"""The environment: values without blanks, and errors that name the variable."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import env, env_int, env_list, environment_name, require


def test_environment_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, name in (("production", "production"), ("test", "test"), ("", "development")):
        monkeypatch.setenv("DJANGO_ENV", value)
        assert environment_name() == name
    monkeypatch.setenv("DJANGO_ENV", "Production")
    with pytest.raises(ImproperlyConfigured, match="DJANGO_ENV is 'Production': expected one of development"):
        environment_name()


def test_require__returns_what_is_set_and_names_everything_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONE", raising=False)
    monkeypatch.setenv("TWO", "  ")
    monkeypatch.setenv("THREE", " third ")
    assert require(THREE="a third") == {"THREE": "third"}
    with pytest.raises(ImproperlyConfigured, match=r": ONE \(a number\); TWO \(another\)\.$"):
        require(ONE="a number", TWO="another", THREE="a third")


def test_env__without_surrounding_blanks_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "\t a value\n")
    assert env("ONE") == "a value"
    monkeypatch.delenv("ONE")
    assert (env("ONE"), env("ONE", "another")) == ("", "another")
    assert env_list("ONE") == []
    assert env_int("ONE", 7) == 7
