"""The subset of Go's text/template that notification texts may use: from text to a tree.

Read: actions with trimming (`{{- -}}`), comments, fields and chains (`.Labels.severity`, `$.Status`), variables
(declare and assign), pipelines, parentheses, strings, raw strings, numbers, booleans, nil, `if`/`else if`/`else`,
`range` (one or two variables, `else`), `with`, `define`, `template`, `block`. Anything else raises TemplateProblem
with the line, so that a configuration is refused at load and not when somebody should be paged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec


class TemplateProblem(ValueError):
    """A text that cannot be read or evaluated; the message begins with the line inside the text."""


class Literal(msgspec.Struct, frozen=True):
    """A constant."""

    value: Any


class Dot(msgspec.Struct, frozen=True):
    """`.`"""


class Variable(msgspec.Struct, frozen=True):
    """`$` or `$name`"""

    name: str


class Chain(msgspec.Struct, frozen=True):
    """Fields of a base: `.A.B`, `$x.A`, `(…).A`."""

    base: Any
    fields: tuple[str, ...]


class Call(msgspec.Struct, frozen=True):
    """A function or method with arguments; the value of the pipe before is appended."""

    target: Any
    """A function name (str) or a Chain."""
    arguments: tuple[Any, ...]


class Pipe(msgspec.Struct, frozen=True):
    """Commands from left to right, perhaps bound to variables."""

    commands: tuple[Any, ...]
    names: tuple[str, ...] = ()
    declares: bool = False
    line: int = 0


class Text(msgspec.Struct, frozen=True):
    """Characters to copy."""

    text: str


class Action(msgspec.Struct, frozen=True):
    """A pipe whose value is printed, unless it binds a variable."""

    pipe: Pipe


class Branch(msgspec.Struct, frozen=True):
    """`if`, `with` or `range`."""

    kind: str
    pipe: Pipe
    body: tuple[Any, ...]
    otherwise: tuple[Any, ...]


class Include(msgspec.Struct, frozen=True):
    """`template "name" pipe`"""

    name: str
    pipe: Pipe | None
    line: int


_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)|(?P<number>[+-]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))"""
    r"""|(?P<field>\.[A-Za-z_]\w*)|(?P<dot>\.)|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<sign>:=|=|\||\(|\)|,)"""
)
Token = tuple[str, str, bool]
"""Kind, text, whether white space stood before it."""


def parse(text: str) -> tuple[tuple[Any, ...], dict[str, tuple[Any, ...]]]:
    """The tree of a text and the templates it defines; raises TemplateProblem."""
    parser = _Parser(text)
    try:
        body, end = parser.block(())
    except RecursionError as error:
        raise TemplateProblem("line 1: nested too deeply") from error
    assert end is None
    return body, parser.defined


class _Parser:
    def __init__(self, text: str) -> None:
        self.defined: dict[str, tuple[Any, ...]] = {}
        self._pieces = list(_pieces(text))
        self._at = 0

    def block(self, ends: tuple[str, ...]) -> tuple[tuple[Any, ...], tuple[str, _Tokens] | None]:
        nodes: list[Any] = []
        while self._at < len(self._pieces):
            line, is_action, content = self._pieces[self._at]
            self._at += 1
            if not is_action:
                if content:
                    nodes.append(Text(content))
                continue
            tokens = _Tokens(content, line)
            kind, word, _ = tokens.peek()
            if kind == "word" and word in ("end", "else"):
                tokens.next()
                if word not in ends:
                    raise tokens.problem(f"unexpected {{{{{word}}}}}")
                if word == "end":
                    tokens.must_end()
                return tuple(nodes), (word, tokens)
            node = self._keyword(word, tokens) if kind == "word" else None
            nodes.append(node if node is not None else Action(_whole_pipe(tokens, variables=True)))
        if ends:
            raise TemplateProblem(f"line {self._pieces[-1][0] if self._pieces else 1}: an {{{{end}}}} is missing")
        return tuple(node for node in nodes if node != Text("")), None

    def _keyword(self, word: str, tokens: _Tokens) -> Any:
        if word in ("if", "with", "range"):
            tokens.next()
            return self._branch(word, tokens)
        if word in ("define", "block", "template"):
            tokens.next()
            kind, name, _ = tokens.next()
            if kind not in ("string", "raw"):
                raise tokens.problem(f"{word} needs a name in quotes")
            name = _string(kind, name, tokens)
            pipe = None if tokens.peek()[0] == "end" else _whole_pipe(tokens, variables=False)
            if word == "template":
                return Include(name, pipe, tokens.line)
            body, _ = self.block(("end",))
            self.defined[name] = body
            return Text("") if word == "define" else Include(name, pipe, tokens.line)
        if word in ("break", "continue"):
            raise tokens.problem(f"{{{{{word}}}}} is not supported")
        return None

    def _branch(self, kind: str, tokens: _Tokens) -> Branch:
        pipe = _whole_pipe(tokens, variables=True)
        body, end = self.block(("end", "else"))
        otherwise: tuple[Any, ...] = ()
        assert end is not None
        if end[0] == "else":
            rest = end[1]
            if rest.peek()[0] == "end":
                otherwise, _ = self.block(("end",))
            else:
                _, word, _ = rest.next()
                if word != kind or kind == "range":
                    raise rest.problem(f"unexpected {{{{else {word}}}}}")
                otherwise = (self._branch(kind, rest),)
        return Branch(kind, pipe, body, otherwise)


class _Tokens:
    def __init__(self, text: str, line: int) -> None:
        self.line = line
        self._tokens: list[Token] = []
        at, space = 0, False
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.problem(f"{text[at : at + 12]!r} cannot be read")
            at = match.end()
            if match.lastgroup == "space":
                space = True
                continue
            self._tokens.append((str(match.lastgroup), match[0], space))
            space = False
        if not self._tokens:
            raise self.problem("an action is empty")
        self._next = 0

    def peek(self) -> Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "", False)

    def ahead(self, count: int) -> Token:
        place = self._next + count
        return self._tokens[place] if place < len(self._tokens) else ("end", "", False)

    def next(self) -> Token:
        token = self.peek()
        self._next += 1
        return token

    def must_end(self) -> None:
        if self.peek()[0] != "end":
            raise self.problem(f"unexpected {self.peek()[1]!r}")

    def problem(self, text: str) -> TemplateProblem:
        return TemplateProblem(f"line {self.line}: {text}")


def _pieces(text: str) -> Iterator[tuple[int, bool, str]]:
    """(line, is action, content) with the trimming done."""
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        plain = text[at:] if start < 0 else text[at:start]
        if trim:
            plain = plain.lstrip(" \t\r\n")
        if start >= 0 and re.match(r"\{\{-\s", text[start : start + 4]):
            plain = plain.rstrip(" \t\r\n")
        yield text.count("\n", 0, at) + 1, False, plain
        if start < 0:
            return
        line = text.count("\n", 0, start) + 1
        comment = re.compile(r"\{\{(?:-\s+)?/\*(?s:.*?)\*/(?P<trim>\s+-)?\}\}").match(text, start)
        action = comment or re.compile(
            r'\{\{(?:-(?=\s))?(?P<body>(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\})(?s:.))*?)(?P<trim>\s-)?\}\}'
        ).match(text, start)
        if action is None:
            raise TemplateProblem(f"line {line}: an action is not closed")
        if comment is None:
            yield line, True, action["body"]
        trim = action["trim"] is not None
        at = action.end()


def _whole_pipe(tokens: _Tokens, *, variables: bool) -> Pipe:
    names: list[str] = []
    declares = False
    if variables and tokens.peek()[0] == "variable":
        after = tokens.ahead(1)[1]
        if after in (":=", "="):
            names.append(tokens.next()[1])
            declares = tokens.next()[1] == ":="
        elif after == "," and tokens.ahead(2)[0] == "variable" and tokens.ahead(3)[1] in (":=", "="):
            names.append(tokens.next()[1])
            tokens.next()
            names.append(tokens.next()[1])
            declares = tokens.next()[1] == ":="
    commands = _commands(tokens)
    tokens.must_end()
    return Pipe(commands, tuple(names), declares, tokens.line)


def _commands(tokens: _Tokens) -> tuple[Any, ...]:
    commands: list[Any] = []
    while True:
        operands: list[Any] = []
        while tokens.peek()[0] not in ("end",) and tokens.peek()[1] not in ("|", ")"):
            operands.append(_operand(tokens))
        if not operands:
            raise tokens.problem("a value is missing")
        first = operands[0]
        if isinstance(first, Call) and not first.arguments and isinstance(first.target, str):
            commands.append(Call(first.target, tuple(operands[1:])))
        elif isinstance(first, Chain) and (len(operands) > 1 or commands):
            commands.append(Call(first, tuple(operands[1:])))
        elif len(operands) == 1 and not commands:
            commands.append(first)
        else:
            raise tokens.problem("only a function or a method takes arguments")
        if tokens.peek()[1] != "|":
            return tuple(commands)
        tokens.next()


def _operand(tokens: _Tokens) -> Any:
    kind, text, _ = tokens.next()
    base: Any
    if kind == "string" or kind == "raw":
        base = Literal(_string(kind, text, tokens))
    elif kind == "number":
        base = Literal(float(text) if "." in text else int(text, 0) if "x" in text else int(text))
    elif kind == "word" and text in ("true", "false", "nil"):
        base = Literal({"true": True, "false": False, "nil": None}[text])
    elif kind == "word":
        base = Call(text, ())
    elif kind == "variable":
        base = Variable(text)
    elif kind == "dot":
        base = Dot()
    elif kind == "field":
        base = Chain(Dot(), (text[1:],))
    elif text == "(":
        base = Pipe(_commands(tokens), line=tokens.line)
        if tokens.next()[1] != ")":
            raise tokens.problem("a parenthesis is not closed")
    else:
        raise tokens.problem(f"unexpected {text!r}")
    fields: list[str] = []
    while tokens.peek()[0] == "field" and not tokens.peek()[2]:
        fields.append(tokens.next()[1][1:])
    if not fields:
        return base
    if isinstance(base, Chain):
        return Chain(base.base, (*base.fields, *fields))
    return Chain(base, tuple(fields))


def _string(kind: str, text: str, tokens: _Tokens) -> str:
    body = text[1:-1]
    if kind == "raw":
        return body
    marks = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        if match[0][1] not in marks:
            raise tokens.problem(f"the escape {match[0]} is not supported")
        return marks[match[0][1]]

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|.)", replace, body)
