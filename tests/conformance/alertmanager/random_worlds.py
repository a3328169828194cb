"""Random configurations and streams of alerts on which Alertmanager and the router must tell the same.

A world is one seed: a tree of routes below the matcher `world="SEED"`, receivers, inhibition rules, silences, and a
stream. Many worlds share one configuration. Everything that is posted falls on whole seconds and every flush on half
ones, so that two programs that are some milliseconds apart decide about the same state.

What the router does otherwise on purpose is not generated: what mutes an alert is there before the alert, so that no
receiver knows of an alert that is then muted, and what has ended is not ended again (docs/alerting.md, differences).
"""

from __future__ import annotations

import itertools
import json
import random
import re
from datetime import datetime, timedelta
from typing import Any

LENGTH = 9
"""Seconds of a stream; notifications may follow for some more."""
NAMES = ["a", "b", "c"]
VALUES = {"a": ["1", "2", "3"], "b": ["x", "y"], "c": ["", "p", "p q"]}


class RandomWorld:
    """One seed. stretch: how many seconds of the clock a second of the world lasts."""

    def __init__(self, seed: int, stretch: int = 1) -> None:
        self.seed, self._stretch = seed, stretch
        self._dice = random.Random(f"world {seed}")
        dice = self._dice
        self.receivers = [f"w{seed}-{number}" for number in range(dice.randint(1, 3))]
        self._options = {
            name: {
                "send_resolved": dice.random() < 0.75,
                "max_alerts": dice.choice([0, 0, 0, 1, 2]),
            }
            for name in self.receivers
        }
        self._inhibiting = [
            (role, dice.choice([[], ["b"], ["b", "none"], ["c"]]), dice.random() < 0.3)
            for role in ("source", "other")[: dice.choice([0, 0, 0, 1, 1, 2])]
        ]
        """Role of the source, labels that must be equal, whether sources are targets too."""
        self._silenced = [self._matchers() for _ in range(dice.choice([0, 0, 1, 1, 2]))]

    # Configuration

    def route(self) -> dict[str, Any]:
        """The world's routes."""
        route = {
            "matchers": [f'world="{self.seed}"'],
            "receiver": self.receivers[0],
            "group_by": self._dice.choice([["a"], ["b"], ["a", "b"], ["..."], ["none"]]),
            "group_wait": self._dice.choice(["500ms", "1500ms"]),
            "group_interval": self._dice.choice(["1s", "2s", "3s"]),
            "repeat_interval": self._dice.choice(["1h", "1h", "250ms", "1250ms", "2250ms", "4250ms"]),
            "routes": _unlike([self._child(2) for _ in range(self._dice.randint(0, 3))]),
        }
        self._lengthen(route)
        return route

    def _lengthen(self, route: dict[str, Any]) -> None:
        for key in ("group_wait", "group_interval", "repeat_interval"):
            if key in route:
                number, unit = re.fullmatch(r"(\d+)(ms|s|h)", route[key]).groups()  # type: ignore[union-attr]
                route[key] = f"{int(number) * self._stretch}{unit}"
        for child in route.get("routes", []):
            self._lengthen(child)

    def _stamp(self, start: datetime, seconds: float) -> str:
        return (start + timedelta(seconds=seconds * self._stretch)).isoformat().replace("+00:00", "Z")

    def _child(self, depth: int) -> dict[str, Any]:
        dice = self._dice
        node: dict[str, Any] = {"receiver": dice.choice(self.receivers), "continue": dice.random() < 0.4}
        if dice.random() < 0.3:
            name = dice.choice(NAMES)
            node["match"] = {name: dice.choice(VALUES[name])}
        if dice.random() < 0.3:
            node["match_re"] = {dice.choice(NAMES): dice.choice(["1|2", "x.*", ".*", ".+", "[13]"])}
        if dice.random() < 0.6:
            node["matchers"] = self._matchers()
        for key, choices in (
            ("group_by", [["b"], ["c"], ["a", "c"], ["..."]]),
            ("group_wait", ["500ms", "2500ms"]),
            ("group_interval", ["1s", "2s"]),
            ("repeat_interval", ["3250ms", "250ms"]),
            ("mute_time_intervals", [["always"], ["long-ago"], ["long-ago", "every-day"], ["no-month", "long-ago"]]),
            ("active_time_intervals", [["always"], ["long-ago"], ["long-ago", "every-day"], ["no-month"]]),
        ):
            if dice.random() < (0.3 if key.startswith("group") else 0.1):
                node[key] = dice.choice(choices)
        if depth > 1 and dice.random() < 0.5:
            node["routes"] = _unlike([self._child(depth - 1) for _ in range(dice.randint(1, 2))])
        return node

    def _matchers(self) -> list[str]:
        found = []
        for name in self._dice.sample(NAMES, self._dice.choice([1, 1, 2])):
            operator = self._dice.choice(["=", "!=", "=~", "!~"])
            value = self._dice.choice(VALUES[name]) if "~" not in operator else self._dice.choice(["1|x", ".+", "p.*"])
            found.append(f'{name} {operator} "{value}"')
        return found

    def inhibit_rules(self) -> list[dict[str, Any]]:
        """Up to two."""
        own = f'world="{self.seed}"'
        return [
            {
                "source_matchers": [own, f'role="{role}"'],
                "target_matchers": [own] if themselves else [own, f'role!="{role}"'],
                "equal": equal,
            }
            for role, equal, themselves in self._inhibiting
        ]

    def hooks(self, base: str) -> list[dict[str, Any]]:
        """Receivers; `base` is where they are."""
        return [
            {"name": name, "webhook_configs": [{"url": f"{base}/{name}", **self._options[name]}]}
            for name in self.receivers
        ]

    # Stream

    def stream(self, start: datetime) -> list[tuple[float, str, Any]]:
        """(second of the world, path, body) in order of time; the first is for what mutes. A body of "silences" is
        (name, silence), one of "expire" a name."""
        dice = self._dice
        steps: list[tuple[float, str, Any]] = []
        for number, matchers in enumerate(self._silenced):
            steps += self._silence(start, f"{self.seed}-{number}", matchers)
        for role, _, _ in self._inhibiting:
            ends = dice.choice([None, 4, 6])
            labels = {"role": role, "b": dice.choice(VALUES["b"])}
            steps.append((0.0, "alerts", [self._alert(start, labels, 0, None)]))
            ends = ends or LENGTH
            steps.append((float(ends), "alerts", [self._alert(start, labels, 0, ends - 0.1)]))
        sets = [dict(zip(NAMES, values, strict=True)) for values in itertools.product(*(VALUES[n] for n in NAMES))]
        for labels in dice.sample(sets, dice.randint(2, 6)):
            second = dice.randint(1, 5)
            began, last, fires_on = second, second, False
            while second < LENGTH:
                kind = dice.random()
                ends = second + dice.choice([1.25, 2.25, 3.25]) if kind < 0.3 else None
                note = dice.choice(["one", "two"])
                steps.append((float(second), "alerts", [self._alert(start, labels, began, ends, note)]))
                last, fires_on = began, fires_on or ends is None or ends > LENGTH  # of two ends the later holds
                second += dice.randint(1, 4)
                # What has ended is not ended again: Alertmanager lists such an end once more, the router does not.
                if dice.random() < 0.5 and second < LENGTH and (ends is None or ends > second):
                    steps.append((float(second), "alerts", [self._alert(start, labels, began, second - 0.1, note)]))
                    fires_on = False
                    second += dice.randint(1, 3)
                    began = second
                elif ends is not None and second > ends:
                    began = second
                if dice.random() < 0.4:
                    break
            if fires_on:  # all ends at last, or repetitions would go on while the comparison is made
                steps.append((float(LENGTH), "alerts", [self._alert(start, labels, last, LENGTH - 0.1)]))
        return sorted(steps, key=lambda step: step[0])

    def _alert(
        self, start: datetime, labels: dict[str, str], began: float, ends: float | None, note: str = "one"
    ) -> dict[str, Any]:
        return {
            "labels": {"alertname": "Random", "world": str(self.seed), **labels},
            "annotations": {"note": note},
            "startsAt": self._stamp(start, began),
            "endsAt": self._stamp(start, 3600 if ends is None else ends),
        }

    def _silence(self, start: datetime, name: str, texts: list[str]) -> list[tuple[float, str, Any]]:
        """A silence that begins before all alerts and ends by itself, is ended, changed or narrowed in the run. What it
        mutes less was never told, so that both programs tell it for the first time."""

        def matcher(text: str) -> dict[str, Any]:
            label, operator, value = text.split(" ", 2)
            regex, equal = "~" in operator, "!" not in operator
            return {"name": label, "value": json.loads(value), "isRegex": regex, "isEqual": equal}

        dice = self._dice
        fate = dice.choice(["ends", "ends", "expired", "prolonged", "shortened", "narrowed", "stays"])
        matchers = [matcher(f'world = "{self.seed}"'), *map(matcher, texts)]
        ends = dice.choice([3.25, 5.25]) if fate in ("ends", "prolonged") else 60.0
        made = {
            "matchers": matchers,
            "startsAt": self._stamp(start, dice.choice([0.0, 0.5])),
            "endsAt": self._stamp(start, ends),
            "createdBy": "test",
            "comment": "random",
        }
        steps: list[tuple[float, str, Any]] = [(0.0, "silences", (name, made))]
        at = float(dice.choice([2, 3])) if fate == "prolonged" else float(dice.choice([3, 5]))
        if fate == "expired":
            steps.append((at, "expire", name))
        elif fate == "prolonged":
            steps.append((at, "silences", (name, made | {"endsAt": self._stamp(start, 7.25)})))
        elif fate == "shortened":
            steps.append((at, "silences", (name, made | {"endsAt": self._stamp(start, at + 1.25)})))
        elif fate == "narrowed":
            narrower = [*matchers, *map(matcher, self._matchers())]
            steps.append((at, "silences", (name, made | {"matchers": narrower})))
        return steps


def _unlike(routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of each set of matchers: groups of two siblings with equal ones have one key, and tell in turn."""
    return list(
        {str([route.get(key) for key in ("match", "match_re", "matchers")]): route for route in routes}.values()
    )


def configuration_of(worlds: list[RandomWorld], base: str) -> str:
    """One configuration for all worlds, as JSON, which is YAML."""
    return json.dumps(
        {
            "route": {"receiver": "nobody", "routes": [world.route() for world in worlds]},
            "inhibit_rules": [rule for world in worlds for rule in world.inhibit_rules()],
            "time_intervals": [
                {"name": "always", "time_intervals": [{"years": ["2000:2100"]}]},
                {"name": "long-ago", "time_intervals": [{"years": ["2000"]}]},
                {
                    "name": "every-day",
                    "time_intervals": [
                        {"days_of_month": ["1:15"], "location": "Asia/Kathmandu"},
                        {"days_of_month": ["-31:-1"], "months": ["january:december"], "weekdays": ["sunday:saturday"]},
                    ],
                },
                {"name": "no-month", "time_intervals": [{"months": ["1:12"], "years": ["1999:2001"]}]},
            ],
            "receivers": [{"name": "nobody"}, *(hook for world in worlds for hook in world.hooks(base))],
        },
        indent=1,
    )
