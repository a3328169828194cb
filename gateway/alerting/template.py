"""Notification texts: Go templates of the documented subset, evaluated over the data of one notification.

Data as Alertmanager's `template.Data`: `.Receiver .Status .Alerts .GroupLabels .CommonLabels .CommonAnnotations
.ExternalURL`; an alert has `.Status .Labels .Annotations .StartsAt .EndsAt .GeneratorURL .Fingerprint`; label sets know
`.SortedPairs .Names .Values .Remove`, lists of alerts `.Firing .Resolved`. A label that is absent prints as nothing.

`Texts` holds the named templates. `check` evaluates a text over a sample at load, so that a misspelt field is refused
then. The evaluation has no access to Python objects beyond these, and its output is bounded by MAX_OUTPUT.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from gateway.alerting.default_texts import DEFAULT_TEXTS
from gateway.alerting.moments import SECOND, format_moment_nano
from gateway.alerting.template_functions import FUNCTIONS, SafeHtml, Strings, show, truth
from gateway.alerting.template_syntax import (
    Action,
    Branch,
    Call,
    Chain,
    Dot,
    Include,
    Literal,
    Pipe,
    TemplateProblem,
    Text,
    Variable,
    parse,
)

_log = structlog.get_logger(__name__)
MAX_OUTPUT: Final = 1_048_576
MAX_DEPTH: Final = 50
MAX_STEPS: Final = 2_000_000


class Pair(dict[str, Any]):
    """Name and Value."""

    fields = ("Name", "Value")


class Pairs(list[Pair]):
    """Sorted pairs of a label set."""

    fields = ("Names", "Values")

    def get_field(self, name: str) -> Strings:
        """`.Names` or `.Values`."""
        return Strings(pair[name[:-1]] for pair in self)


class LabelSet(dict[str, str]):
    """A label set or a set of annotations."""

    methods = ("SortedPairs", "Names", "Values", "Remove")

    def call(self, name: str, arguments: Sequence[Any]) -> Any:
        """One of `methods`, as Go's `template.KV` has them."""
        if name == "Remove":
            (names,) = arguments
            return LabelSet({k: v for k, v in self.items() if k not in set(names)})
        if arguments:
            raise TemplateProblem(f"{name} takes no arguments")
        pairs = self.sorted_pairs()
        return pairs if name == "SortedPairs" else pairs.get_field(name)

    def sorted_pairs(self) -> Pairs:
        """By name, `alertname` first."""
        names = sorted(self, key=lambda name: (name != "alertname", name))
        return Pairs(Pair(Name=name, Value=self[name]) for name in names)

    def __str__(self) -> str:
        return "map[" + " ".join(f"{k}:{v}" for k, v in sorted(self.items())) + "]"


class Record(dict[str, Any]):
    """A value with a fixed set of fields; another field is a mistake in the text."""


class Alerts(list[Record]):
    """A list of alerts with `.Firing` and `.Resolved`."""

    def get_field(self, name: str) -> Alerts:
        """`.Firing` or `.Resolved`."""
        return Alerts(alert for alert in self if alert["Status"] == name.lower())


class Moment(int):
    """Nanoseconds, printed as a time."""

    def __str__(self) -> str:
        return format_moment_nano(int(self))


class Texts:
    """Named templates and the way to evaluate a text with them."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[Any, ...]] = {}
        self._parsed: dict[str, tuple[Any, ...]] = {}
        for text in DEFAULT_TEXTS:
            self.define(text)

    def define(self, text: str) -> None:
        """Takes the `define`s of a file; raises TemplateProblem."""
        _, defined = parse(text)
        self.named.update(defined)

    def check(self, text: str) -> None:
        """Raises TemplateProblem if the text cannot be read or does not fit the data."""
        for sample in (_SAMPLE_FIRING, _SAMPLE_RESOLVED):
            self.evaluate(text, sample)

    def render(self, text: str, data: Record, *, escape: bool = False) -> str:
        """The text over the data; a text that fails on it gives a plain line instead, since people must be told."""
        try:
            return self.evaluate(text, data, escape=escape)
        except TemplateProblem as problem:
            _log.error("a notification text could not be evaluated", problem=str(problem))
            name = data["GroupLabels"].get("alertname", "alert")
            plain = f"[{data['Status'].upper()}] {name} (the text of this receiver failed: {problem})"
            return html.escape(plain) if escape else plain

    def evaluate(self, text: str, data: Record, *, escape: bool = False) -> str:
        """The text over the data; with `escape`, printed values are escaped for HTML. Raises TemplateProblem."""
        if "{{" not in text:
            return text
        body = self._parsed.get(text)
        if body is None:
            body, defined = parse(text)
            # A text that brings its own templates sees them only itself.
            if defined:
                own = Texts.__new__(Texts)
                own.named, own._parsed = {**self.named, **defined}, {}
                return _Evaluation(own, data, escape).run(body)
            self._parsed[text] = body
        return _Evaluation(self, data, escape).run(body)


class _Evaluation:
    def __init__(self, texts: Texts, data: Record, escape: bool) -> None:
        self._texts, self._data, self._escape = texts, data, escape
        self._out: list[str] = []
        self._size = self._steps = 0

    def run(self, body: tuple[Any, ...]) -> str:
        try:
            self._block(body, self._data, [{"$": self._data}], 0)
        except RecursionError as error:
            raise TemplateProblem("line 1: nested too deeply") from error
        return "".join(self._out)

    def _print(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateProblem(f"the text grows beyond {MAX_OUTPUT} characters")
        self._out.append(text)

    def _block(self, body: tuple[Any, ...], dot: Any, scopes: list[dict[str, Any]], depth: int) -> None:
        self._steps += len(body)
        if self._steps > MAX_STEPS:
            raise TemplateProblem(f"line 1: the text takes more than {MAX_STEPS} steps")
        for node in body:
            if isinstance(node, Text):
                self._print(node.text)
            elif isinstance(node, Action):
                value = self._pipe(node.pipe, dot, scopes)
                if not node.pipe.names:
                    shown = show(value)
                    safe = isinstance(value, SafeHtml)
                    self._print(html.escape(shown) if self._escape and not safe else shown)
            elif isinstance(node, Include):
                if depth >= MAX_DEPTH:
                    raise TemplateProblem(f"line {node.line}: templates include each other too deeply")
                if node.name not in self._texts.named:
                    raise TemplateProblem(f'line {node.line}: template "{node.name}" is not defined')
                inner = self._pipe(node.pipe, dot, scopes) if node.pipe else None
                self._block(self._texts.named[node.name], inner, [{"$": inner}], depth + 1)
            else:
                self._branch(node, dot, [*scopes, {}], depth)

    def _branch(self, node: Branch, dot: Any, scopes: list[dict[str, Any]], depth: int) -> None:
        if node.kind != "range":
            value = self._pipe(node.pipe, dot, scopes)
            inner = value if node.kind == "with" and truth(value) else dot
            self._block(node.body if truth(value) else node.otherwise, inner, scopes, depth)
            return
        bare = Pipe(node.pipe.commands, line=node.pipe.line)
        value = self._pipe(bare, dot, scopes)
        entries: list[tuple[Any, Any]]
        if isinstance(value, Mapping) and not isinstance(value, Record):
            entries = sorted(value.items())
        elif isinstance(value, list):
            entries = list(enumerate(value))
        elif value is None:
            entries = []
        else:
            raise TemplateProblem(f"line {node.pipe.line}: range over {type(value).__name__.lower()}")
        if not entries:
            self._block(node.otherwise, dot, scopes, depth)
        for key, item in entries:
            names = node.pipe.names
            bound = dict(zip(names, (key, item) if len(names) == 2 else (item,), strict=True)) if names else {}
            self._block(node.body, item, [*scopes, bound], depth)

    def _pipe(self, pipe: Pipe, dot: Any, scopes: list[dict[str, Any]]) -> Any:
        value: Any = None
        try:
            for number, command in enumerate(pipe.commands):
                extra = () if number == 0 else (value,)
                value = self._value(command, dot, scopes, extra)
        except TemplateProblem as problem:
            if str(problem).startswith("line "):
                raise
            raise TemplateProblem(f"line {pipe.line}: {problem}") from problem
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise TemplateProblem(f"line {pipe.line}: {error}") from error
        if pipe.names:
            name = pipe.names[0]
            if pipe.declares:
                scopes[-1][name] = value
            else:
                for scope in reversed(scopes):
                    if name in scope:
                        scope[name] = value
                        break
                else:
                    raise TemplateProblem(f"line {pipe.line}: the variable {name} is not declared")
        return value

    def _value(self, node: Any, dot: Any, scopes: list[dict[str, Any]], extra: tuple[Any, ...] = ()) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Dot):
            return dot
        if isinstance(node, Variable):
            for scope in reversed(scopes):
                if node.name in scope:
                    return scope[node.name]
            raise TemplateProblem(f"the variable {node.name} is not declared")
        if isinstance(node, Pipe):
            return self._pipe(node, dot, scopes)
        if isinstance(node, Chain):
            return self._chain(node, dot, scopes, ())
        assert isinstance(node, Call)
        arguments = (*(self._value(argument, dot, scopes) for argument in node.arguments), *extra)
        if isinstance(node.target, Chain):
            return self._chain(node.target, dot, scopes, arguments)
        if node.target in ("and", "or"):
            chosen: Any = None
            for chosen in arguments:
                if truth(chosen) == (node.target == "or"):
                    break
            return chosen
        function = FUNCTIONS.get(node.target)
        if function is None:
            raise TemplateProblem(f'function "{node.target}" is not supported')
        return function(*arguments)

    def _chain(self, node: Chain, dot: Any, scopes: list[dict[str, Any]], arguments: Sequence[Any]) -> Any:
        value = self._value(node.base, dot, scopes)
        for number, name in enumerate(node.fields):
            value = field(value, name, arguments if number == len(node.fields) - 1 else ())
        return value


def field(value: Any, name: str, arguments: Sequence[Any]) -> Any:
    """One field or method of a value; raises TemplateProblem for one it does not have."""
    if isinstance(value, LabelSet):
        if name in LabelSet.methods:
            return value.call(name, arguments)
        if not arguments:
            return value.get(name, "")
    elif isinstance(value, Record | Pair) and name in value and not arguments:
        return value[name]
    elif (isinstance(value, Alerts) and name in ("Firing", "Resolved") and not arguments) or (
        isinstance(value, Pairs) and name in Pairs.fields and not arguments
    ):
        return value.get_field(name)
    raise TemplateProblem(f"there is no field or method .{name} on {type(value).__name__}")


def common(sets: Iterable[Mapping[str, str]]) -> LabelSet:
    """The pairs that every set holds."""
    shared: dict[str, str] | None = None
    for labels in sets:
        if shared is None:
            shared = dict(labels)
        elif shared:
            shared = {name: value for name, value in shared.items() if labels.get(name) == value}
    return LabelSet(sorted((shared or {}).items()))


def _sample(status: str) -> Record:
    labels = LabelSet(alertname="Sample", instance="a:1", job="job", severity="critical")
    alert = Record(
        Status=status,
        Labels=labels,
        Annotations=LabelSet(summary="a sample", description="a sample"),
        StartsAt=Moment(1_700_000_000 * SECOND),
        EndsAt=Moment(1_700_000_060 * SECOND),
        GeneratorURL="http://127.0.0.1/",
        Fingerprint="0123456789abcdef",
    )
    return Record(
        Receiver="receiver",
        Status=status,
        Alerts=Alerts([alert, alert]),
        GroupLabels=LabelSet(alertname="Sample"),
        CommonLabels=labels,
        CommonAnnotations=LabelSet(summary="a sample"),
        ExternalURL="http://127.0.0.1",
    )


_SAMPLE_FIRING: Final = _sample("firing")
_SAMPLE_RESOLVED: Final = _sample("resolved")
