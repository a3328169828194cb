"""JSON objects of others, read field by field; every problem is found before any is raised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.alerting.moments import NEVER
from gateway.errors import RequestError


class Invalid(RequestError):
    """A body that breaks its sender's rules; one line per problem, by field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(problems.values()))


class Fields:
    """One JSON object read field by field; problems are collected and raised together."""

    def __init__(self, body: Any, path: str = "", problems: dict[str, str] | None = None, plain: bool = False) -> None:
        self._path, self._plain = path, plain
        self._problems: dict[str, str] = {} if problems is None else problems
        if not isinstance(body, dict):
            self._problems[path] = f"'{path}' is not an object" if path else "the body is not a JSON object"
        self._body: dict[str, Any] = body if isinstance(body, dict) else {}

    def refuse(self, name: str, problem: str) -> None:
        """Something is wrong with a field."""
        self._problems[self._path + name] = problem

    def text(self, name: str, most: int = 0, *, required: bool = False) -> str:
        """A string of at most `most` characters, 0 for any number; "" where it is absent or wrong."""
        value = self._body.get(name)
        shown = self._path + name
        if value is None or value == "":
            if required:
                self.refuse(name, f"{name} can not be empty" if self._plain else f"'{shown}' is missing or blank")
            return ""
        if not isinstance(value, str):
            self.refuse(name, f"'{shown}' is not a string")
            return ""
        if required and not value.strip():
            self.refuse(name, f"{name} can not be empty" if self._plain else f"'{shown}' is missing or blank")
        if most and len(value) > most:
            self.refuse(name, f"Length of '{shown}' is incorrect (should be at most {most} characters)")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            self.refuse(name, f"'{shown}' is not valid Unicode")
            return ""
        return value

    def anything(self, name: str) -> Any:
        """The value as it is, None where it is absent."""
        return self._body.get(name)

    def below(self, name: str, *, required: bool = False) -> Fields:
        """An object inside; its problems are told with these."""
        value = self._body.get(name)
        if value is None:
            if required:
                self.refuse(name, f"'{self._path}{name}' is missing or blank")
            # Problems of fields below would only repeat that the whole is missing.
            return Fields({}, f"{self._path}{name}.", {})
        return Fields(value, f"{self._path}{name}.", self._problems)

    def moment(self, name: str, default: int) -> int:
        """ISO 8601 to nanoseconds; a time without a zone is UTC."""
        text = self.text(name)
        if not text:
            return default
        try:
            found = datetime.fromisoformat(text)
            found = found.replace(tzinfo=found.tzinfo or UTC)
            moment = (found - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
        except (ValueError, OverflowError):
            self.refuse(name, f"'{self._path}{name}' is not an ISO 8601 time")
            return default
        if not 0 < moment < NEVER:
            self.refuse(name, f"'{self._path}{name}' is out of range")
            return default
        return moment

    def only(self, *names: str) -> None:
        """Refuses fields of other names."""
        for name in self._body.keys() - set(names):
            self.refuse(name, f"'{name}' is not known")

    def finish(self) -> None:
        """Raises Invalid if something was wrong."""
        if self._problems:
            raise Invalid(self._problems)
