"""Who is on call: people, teams, schedules with rotations and overrides, escalation policies, from `oncall_file`.

    people:
      - {name: ana, receiver: ana-phone}          # receiver: a receiver of alertmanager.yml
    schedules:
      - name: primary
        location: Europe/Rome
        rotations:
          - {people: [ana, bob], start: '2026-01-05T09:00', shift: 1w}
        overrides:
          - {person: bob, start: '2026-03-01T00:00', end: '2026-03-02T00:00'}
    teams:
      - {name: shop, members: [ana, bob], schedules: [primary], matchers: ['service=~"cart|checkout"']}
    escalation_policies:
      - name: pages
        team: shop
        matchers: ['severity="critical"']
        steps:
          - {wait: 5m, notify: ['schedule:primary']}
          - {wait: 15m, notify: ['person:bob', 'team:shop', 'receiver:managers']}
        repeat: 1

Rules of the subject:
  * Times are wall-clock times at the schedule's place. A shift of days or weeks is handed over at the same time of day
    all year; a shift of hours counts real hours from the start. A time that the clock shows twice is the first one, and
    one that it leaves out comes when it is put forward.
  * An override that holds wins over the rotations; the later one wins over the earlier. Rotations are layers: the
    last one in the list that has begun decides.
  * An alert is a team's if its label `team` names it, or, without that label, if the team's matchers hold. To tell a
    team is to tell who is on call in its schedules, and all its members if nobody is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from gateway.alerting.document import Section, Value, read_document
from gateway.alerting.matcher import Matcher, all_match
from gateway.alerting.moments import SECOND
from gateway.alerting.route import read_matchers
from gateway.alerting.wall_clock import LARGEST_CHANGE, first_moment, reading, zone
from gateway.bounded_text import read_text
from gateway.errors import ConfigError


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """People taking turns. `start` is a naive wall-clock time; one of `days` and `hours` is the length of a turn."""

    people: tuple[str, ...]
    start: datetime
    days: int = 0
    hours: int = 0


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """One person for a span [start, end), naive wall-clock times."""

    person: str
    start: datetime
    end: datetime


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Who is on call when."""

    name: str
    location: str
    rotations: tuple[Rotation, ...]
    overrides: tuple[Override, ...] = ()

    def on_call(self, moment: int) -> str:
        """The person at a moment (nanoseconds), or "" before the first rotation begins."""
        place = zone(self.location)
        override = self.override(moment)
        if override is not None:
            return override.person
        for rotation in reversed(self.rotations):
            began = first_moment(rotation.start, place)
            if moment < began:
                continue
            if rotation.days:
                elapsed = reading(moment, place) - rotation.start
                turn = elapsed.days // rotation.days
                # A clock that was put back over the handover shows the time before it once more.
                coming = (elapsed + LARGEST_CHANGE).days // rotation.days
                if coming > turn and first_moment(rotation.start + timedelta(coming * rotation.days), place) <= moment:
                    turn = coming
            else:
                turn = (moment - began) // (rotation.hours * 3600 * SECOND)
            return rotation.people[turn % len(rotation.people)]
        return ""

    def override(self, moment: int) -> Override | None:
        """The one that holds at a moment (nanoseconds)."""
        place = zone(self.location)
        local = reading(moment, place)
        for override in reversed(self.overrides):
            near = override.start <= local + LARGEST_CHANGE and local - LARGEST_CHANGE < override.end
            if near and first_moment(override.start, place) <= moment < first_moment(override.end, place):
                return override
        return None


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """People who answer for some alerts together."""

    name: str
    members: tuple[str, ...]
    schedules: tuple[str, ...] = ()
    matchers: tuple[Matcher, ...] = ()

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels is the team's."""
        named = labels.get("team", "")
        return named == self.name if named else bool(self.matchers) and all_match(self.matchers, labels)


class Step(msgspec.Struct, frozen=True):
    """After `wait` nanoseconds tell these: (kind, name), kind being person, schedule, team or receiver."""

    wait: int
    targets: tuple[tuple[str, str], ...]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What happens while nobody acknowledges the alerts that match."""

    name: str
    matchers: tuple[Matcher, ...]
    steps: tuple[Step, ...]
    repeat: int = 0
    """How often the steps are run again after the first time."""
    team: Team | None = None
    """Only for this team's alerts."""

    def meets(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds for an alert with these labels."""
        return (self.team is None or self.team.owns(labels)) and all_match(self.matchers, labels)


class OnCall(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the file."""

    people: dict[str, str] = {}
    """Name → receiver."""
    schedules: dict[str, Schedule] = {}
    teams: dict[str, Team] = {}
    policies: tuple[Policy, ...] = ()

    def receivers(self, targets: tuple[tuple[str, str], ...], moment: int) -> list[str]:
        """Receivers that the targets of a step mean at a moment, in order, each once."""
        found: dict[str, None] = {}
        for kind, name in targets:
            if kind == "receiver":
                found[name] = None
                continue
            if kind == "person":
                people = [name]
            elif kind == "schedule":
                people = [self.schedules[name].on_call(moment)]
            else:
                people = self.on_call(self.teams[name], moment) or list(self.teams[name].members)
            found.update((self.people[person], None) for person in people if person)
        return list(found)

    def on_call(self, team: Team, moment: int) -> list[str]:
        """The people on call in a team's schedules, each once; empty if nobody is."""
        people = (self.schedules[name].on_call(moment) for name in team.schedules)
        return list(dict.fromkeys(person for person in people if person))


def load_oncall(path: Path, receivers: set[str]) -> OnCall:
    """Reads the file; `receivers` are those of the alerting configuration. Raises ConfigError."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", source=str(path)) from error
    return read_oncall(text, str(path), receivers)


def read_oncall(text: str, source: str, receivers: set[str]) -> OnCall:
    """From YAML text; raises ConfigError."""
    section = read_document(text, source).section()
    people: dict[str, str] = {}
    for item in section.items("people"):
        below = item.section()
        name, receiver = below.must("name").text(), below.must("receiver")
        below.finish("name, receiver")
        if name in people:
            raise item.refuse(f'the person "{name}" is defined twice')
        people[name] = _one_of(receiver, receivers, "receiver")
    schedules = {}
    for item in section.items("schedules"):
        schedule = _schedule(item.section(), people)
        if schedule.name in schedules:
            raise item.refuse(f'the schedule "{schedule.name}" is defined twice')
        schedules[schedule.name] = schedule
    teams: dict[str, Team] = {}
    for item in section.items("teams"):
        team = _team(item, set(people), set(schedules))
        if team.name in teams:
            raise item.refuse(f'the team "{team.name}" is defined twice')
        teams[team.name] = team
    known = {"person": set(people), "schedule": set(schedules), "team": set(teams), "receiver": receivers}
    policies = tuple(_policy(item, known, teams) for item in section.items("escalation_policies"))
    section.finish("people, schedules, teams, escalation_policies")
    return OnCall(people=people, schedules=schedules, teams=teams, policies=policies)


def _team(value: Value, people: set[str], schedules: set[str]) -> Team:
    section = value.section()
    team = Team(
        name=section.must("name").text(),
        members=tuple(_one_of(person, people, "person") for person in section.must("members").items()),
        schedules=tuple(_one_of(schedule, schedules, "schedule") for schedule in section.items("schedules")),
        matchers=read_matchers(section, "match", "match_re", "matchers"),
    )
    section.finish("name, members, schedules, matchers")
    if not team.members:
        raise value.refuse("a team needs members")
    return team


def _schedule(section: Section, people: dict[str, str]) -> Schedule:
    name = section.must("name").text()
    location = section.take("location")
    if location is not None:
        location.parse(zone)
    rotations = []
    for item in section.items("rotations"):
        below = item.section()
        names = tuple(_one_of(person, set(people), "person") for person in below.must("people").items())
        if not names:
            raise item.refuse("a rotation needs people")
        days, hours = below.must("shift").parse(_shift)
        rotations.append(Rotation(people=names, start=below.must("start").parse(_wall), days=days, hours=hours))
        below.finish("people, start, shift")
    overrides = []
    for item in section.items("overrides"):
        below = item.section()
        person = _one_of(below.must("person"), set(people), "person")
        override = Override(person=person, start=below.must("start").parse(_wall), end=below.must("end").parse(_wall))
        below.finish("person, start, end")
        if override.end <= override.start:
            raise item.refuse("the end must be after the start")
        overrides.append(override)
    section.finish("name, location, rotations, overrides")
    return Schedule(
        name=name,
        location="UTC" if location is None else location.text(),
        rotations=tuple(rotations),
        overrides=tuple(overrides),
    )


def _policy(value: Value, known: dict[str, set[str]], teams: dict[str, Team]) -> Policy:
    section = value.section()
    steps = []
    for item in section.items("steps"):
        below = item.section()
        targets = []
        for target in below.must("notify").items():
            kind, _, name = target.text().partition(":")
            if name not in known.get(kind, set()):
                raise target.refuse(
                    f'"{target.text()}" is not known', "person:NAME, schedule:NAME, team:NAME or receiver:NAME"
                )
            targets.append((kind, name))
        steps.append(Step(below.must("wait").duration(), tuple(targets)))
        below.finish("wait, notify")
    if not steps:
        raise value.refuse("an escalation policy needs steps")
    repeat, team = section.take("repeat"), section.take("team")
    policy = Policy(
        name=section.must("name").text(),
        matchers=read_matchers(section, "match", "match_re", "matchers"),
        steps=tuple(steps),
        repeat=0 if repeat is None else repeat.whole(),
        team=None if team is None else teams[_one_of(team, set(teams), "team")],
    )
    section.finish("name, team, matchers, steps, repeat")
    return policy


def _one_of(value: Value, known: set[str], what: str) -> str:
    name = value.text()
    if name not in known:
        raise value.refuse(f'the {what} "{name}" is not defined', ", ".join(sorted(known)))
    return name


def _wall(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        raise ValueError(f'"{text}" must be a wall-clock time without an offset')
    return moment


def _shift(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)([wdh])", text)
    if match is None:
        raise ValueError(f'"{text}" is not a length of a shift such as 1w, 1d or 12h')
    count = int(match[1])
    return {"w": (7 * count, 0), "d": (count, 0), "h": (0, count)}[match[2]]
