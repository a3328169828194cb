"""What receivers say back: buttons pressed in Slack, the state of text messages at Twilio.

Both are signed with a secret that only the receiver and the operator know; nothing is believed before the signature
holds. Slack signs `v0:`, the timestamp, `:` and the raw body with HMAC-SHA256, and a timestamp more than five minutes
away is refused, so that a request that somebody recorded is worth nothing later. Twilio signs the address it was given
and the fields of the form, sorted, with HMAC-SHA1; what such a message says is about one message for good, so saying it
again changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.errors import RequestError
from gateway.settings_types import Secret

SLACK_WINDOW: Final = 300
"""Seconds between Slack's timestamp and our clock, at most."""
BUTTONS: Final = {"acknowledge": "Acknowledge", "snooze": "Snooze 1 h", "resolve": "Resolve"}
"""Slack's `action_id` → what stands on the button."""
SNOOZE_SECONDS: Final = 3600.0
MAX_VALUE: Final = 2000
"""Characters of a button's value; groups with longer ids get no buttons."""
MAX_ADDRESS: Final = 2000
"""Characters of an address given to Twilio."""
MESSAGE_STATE: Final = "message state"
"""The kind of event that says what became of a text message."""
FINAL_STATES: Final = frozenset({"delivered", "undelivered", "failed", "read", "canceled"})
LOST: Final = frozenset({"undelivered", "failed"})


class Press(msgspec.Struct, frozen=True):
    """A button that somebody pressed."""

    action: str
    """A key of BUTTONS."""
    group_id: str
    who: str


def slack_signature_holds(secret: Secret, timestamp: str, body: bytes, signature: str, now: float) -> bool:
    """Whether Slack sent this raw body within the window. now: Unix seconds."""
    if not secret or not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:
        return False
    signed = b"v0:" + timestamp.encode() + b":" + body
    expected = "v0=" + hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()
    fresh = abs(now - int(timestamp)) <= SLACK_WINDOW
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")) and fresh


def presses(payload: Any) -> list[Press]:
    """The buttons of ours in the `payload` of an interaction, decoded; raises RequestError for what is none."""
    if not isinstance(payload, dict) or payload.get("type") != "block_actions":
        raise RequestError("not an interaction with a block", reason="interaction")
    user, actions = payload.get("user"), payload.get("actions")
    names = [user.get(key) for key in ("username", "name", "id")] if isinstance(user, dict) else []
    who = next((name for name in names if isinstance(name, str) and name.strip()), "")
    if not who or not isinstance(actions, list):
        raise RequestError("the interaction does not say who pressed what", reason="interaction")
    return [
        Press(action["action_id"], action["value"], who[:256])
        for action in actions
        if isinstance(action, dict) and action.get("action_id") in BUTTONS and isinstance(action.get("value"), str)
    ]


class About(msgspec.Struct, frozen=True):
    """Which notification a text message was."""

    id: str
    integration: str
    group: str = ""


def status_address(base: str, about: About) -> str:
    """Where Twilio is to say what became of a message. What it is about is written in letters that nothing on the way
    writes otherwise, as the address is part of what is signed."""
    for one in (about, msgspec.structs.replace(about, group="")):
        address = f"{base}?about={base64.urlsafe_b64encode(msgspec.json.encode(one)).decode().rstrip('=')}"
        if len(address) <= MAX_ADDRESS:
            break
    return address


def read_about(text: str) -> About:
    """What an address given by `status_address` is about; raises RequestError."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=About)
    except (ValueError, msgspec.MsgspecError) as error:
        raise RequestError("the address is none that was given out", reason="interaction") from error


def twilio_signature(secret: Secret, address: str, form: Iterable[tuple[str, str]]) -> str:
    """The value of X-Twilio-Signature."""
    signed = address + "".join(f"{name}{value}" for name, value in sorted(form))
    # SHA-1 is Twilio's choice; as HMAC it is not known to be weak.
    mac = hmac.new(secret.reveal().encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


def twilio_signature_holds(secret: Secret, address: str, form: Iterable[tuple[str, str]], signature: str) -> bool:
    """Whether Twilio sent this form to this address."""
    expected = twilio_signature(secret, address, form) if secret else ""
    return bool(expected) and hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape"))


def status_of(form: Mapping[str, str]) -> dict[str, str]:
    """What a status callback says, as the detail of an event; raises RequestError for what is none."""
    state, message = form.get("MessageStatus", ""), form.get("MessageSid", "")
    if not state or not message:
        raise RequestError("not the status of a message", reason="interaction")
    found = {"state": state, "message": message, "to": form.get("To", ""), "error": form.get("ErrorCode", "")}
    return {name: value[:100] for name, value in found.items() if value}
