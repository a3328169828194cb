"""How many silences may be kept, and how long one may be."""

from __future__ import annotations

import pytest

from gateway.alerting.journal import Journal
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import SECOND
from gateway.alerting.silence import MAX_TEXT, Silence, Silences
from gateway.errors import NotFound, RequestError

START = 1_000 * SECOND


def _silence(ends: float, silence_id: str = "", matchers: str = '{a="b"}', comment: str = "") -> Silence:
    ends_ns = START + round(ends * SECOND)
    return Silence(
        id=silence_id, matchers=parse_matchers(matchers), starts=START, ends=ends_ns, updated=0, comment=comment
    )


def test_the_one_that_expired_first_makes_room() -> None:
    silences = Silences(Journal(), most=3)
    lasting = silences.set(_silence(500), START)
    later = silences.set(_silence(20), START)
    first = silences.set(_silence(10), START)
    added = silences.set(_silence(500), START + 30 * SECOND)
    assert {silence.id for silence in silences} == {lasting, later, added}
    with pytest.raises(NotFound):
        silences.get(first)


def test_nothing_that_holds_or_will_hold_is_forgotten() -> None:
    silences = Silences(Journal(), most=2)
    kept = {silences.set(_silence(500), START), silences.set(_silence(600), START)}
    with pytest.raises(RequestError, match=r"alerting\.max_silences is 2"):
        silences.set(_silence(500), START)
    assert {silence.id for silence in silences} == kept


def test_a_full_list_can_still_be_edited() -> None:
    silences = Silences(Journal(), most=2)
    first = silences.set(_silence(500), START)
    second = silences.set(_silence(500), START)
    assert silences.set(_silence(700, first), START) == first
    changed = silences.set(_silence(700, second, matchers='{a="c"}'), START)
    assert {silence.id for silence in silences} == {first, changed}


def test_without_a_limit_all_are_kept() -> None:
    silences = Silences(Journal(), most=0)
    for _ in range(20):
        silences.set(_silence(1), START)
    assert len(silences) == 20


def test_forgetting_reaches_the_store_and_what_was_indexed() -> None:
    journal = Journal()
    silences = Silences(journal, most=1)
    old = silences.set(_silence(10), START)
    assert silences.muting({"a": "b"}, START) == [old]
    new = silences.set(_silence(500), START + 30 * SECOND)
    assert silences.muting({"a": "b"}, START + 30 * SECOND) == [new]
    records = journal.take().records
    assert [key for key, value in records.items() if value is None] == [("silence", old)]


@pytest.mark.parametrize("where", ["comment", "created_by"])
def test_a_text_of_the_longest_length_is_taken_and_one_more_character_is_not(where: str) -> None:
    silences = Silences(Journal())
    room = MAX_TEXT - len("a") - len("b")
    assert silences.set(Silence(**{**_fields(), where: "x" * room}), START)
    with pytest.raises(RequestError, match="longer than"):
        silences.set(Silence(**{**_fields(), where: "x" * (room + 1)}), START)


def test_matchers_count_as_text() -> None:
    many = "{" + ",".join(f'l{n}=~"{"x" * 1000}"' for n in range(20)) + "}"
    with pytest.raises(RequestError, match="longer than"):
        Silences(Journal()).set(_silence(500, matchers=many), START)


def _fields() -> dict[str, object]:
    return {
        "id": "",
        "matchers": parse_matchers('{a="b"}'),
        "starts": START,
        "ends": START + SECOND,
        "updated": 0,
    }
