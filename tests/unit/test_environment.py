"""The environment: values without blanks, and errors that name the variable."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import env, env_int, env_list, environment_name, require


@pytest.mark.parametrize("name", ["development", "production", "test"])
def test_environment_name__known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DJANGO_ENV", name)

    assert environment_name() == name


def test_environment_name__default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ENV", "")
    assert environment_name() == "development"

    monkeypatch.delenv("DJANGO_ENV")
    assert environment_name() == "development"


@pytest.mark.parametrize("name", ["prod", "Production", "staging"])
def test_environment_name__unknown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DJANGO_ENV", name)

    with pytest.raises(ImproperlyConfigured) as caught:
        environment_name()

    assert str(caught.value) == (f"DJANGO_ENV is {name!r}: expected one of development, production, test.")


def test_require__returns_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", " first ")
    monkeypatch.setenv("TWO", "second")

    assert require(ONE="a number", TWO="another") == {"ONE": "first", "TWO": "second"}


def test_require__names_everything_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONE", raising=False)
    monkeypatch.setenv("TWO", "  ")
    monkeypatch.setenv("THREE", "third")

    with pytest.raises(ImproperlyConfigured) as caught:
        require(ONE="a number", TWO="another", THREE="a third")

    assert str(caught.value) == (
        "These environment variables must be set in production: ONE (a number); TWO (another)."
    )


def test_env__without_surrounding_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "\t a value\n")

    assert env("ONE") == "a value"


def test_env__default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONE", raising=False)

    assert env("ONE") == ""
    assert env("ONE", "another") == "another"


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("example.org", ["example.org"]),
        (" a.org , b.org,,c.org, ", ["a.org", "b.org", "c.org"]),
        ("", []),
        (" , ", []),
    ],
)
def test_env_list(monkeypatch: pytest.MonkeyPatch, text: str, items: list[str]) -> None:
    monkeypatch.setenv("ITEMS", text)

    assert env_list("ITEMS") == items


def test_env_list__not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ITEMS", raising=False)

    assert env_list("ITEMS") == []


@pytest.mark.parametrize(("text", "number"), [("12", 12), (" 0 ", 0), ("", 7), ("  ", 7)])
def test_env_int(monkeypatch: pytest.MonkeyPatch, text: str, number: int) -> None:
    monkeypatch.setenv("NUMBER", text)

    assert env_int("NUMBER", 7) == number


def test_env_int__not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBER", raising=False)

    assert env_int("NUMBER", 7) == 7


@pytest.mark.parametrize("text", ["many", "1.5", "1 2"])
def test_env_int__is_no_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NUMBER", text)

    with pytest.raises(ImproperlyConfigured) as caught:
        env_int("NUMBER", 7)

    assert str(caught.value) == f"NUMBER is {text!r}: expected a whole number."
