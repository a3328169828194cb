"""Labels that try to be more than text in an e-mail."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header, make_header

import pytest

from gateway.alerting.notification import Delivered
from tests.gateway.alerting.test_channels import Channels, mail_server, notification


async def sent(host: str, name: str = "{{ .CommonLabels.host }}") -> bytes:
    """The message about an alert with this label, of which its subject and the recipient's name are made."""
    with mail_server() as (mailbox, port):
        async with Channels(
            "    email_configs: [{from: gw@example.org, require_tls: false,"
            f" smarthost: '127.0.0.1:{port}', headers: {{Subject: 'on {{{{ .CommonLabels.host }}}}'}},\n"
            f"      to: '\"{name}\" <a@example.org>'}}]\n"
        ) as channels:
            outcome = await channels["email"].send(notification(host=host))
        assert isinstance(outcome, Delivered), outcome
        assert mailbox.messages[0].rcpt_tos == ["a@example.org"]
        return mailbox.messages[0].content or b""  # type: ignore[return-value]


def unfolded(value: str) -> str:
    """What a plain reader makes of a header: line ends gone, encoded words decoded."""
    return str(make_header(decode_header(value.replace("\n", ""))))


@pytest.mark.parametrize(
    "host",
    [
        "db1\r\nBcc: b@example.org",
        "db1\x85Bcc: b@example.org\u2028Reply-To: b@example.org",
        "=?utf-8?q?=0d=0aBcc:_b@example.org?=",
        "db1=?utf-8?b?DQpCY2M6IGJAZXhhbXBsZS5vcmcNCg0KYm9keQ==?=",
        "=?utf-8?q?=3D=3Futf-8=3Fq=3F=0d=0aBcc:_b=3F=3D?=",
    ],
)
async def test_a_label_makes_no_header(host: str) -> None:
    content = await sent(host)
    message = email.message_from_bytes(content)
    assert message["Bcc"] is None
    assert message["Reply-To"] is None
    assert message.is_multipart(), "the label ended the headers"
    assert unfolded(message["Subject"]).startswith("on ")


async def test_what_looks_like_an_encoded_word_is_shown_as_it_is() -> None:
    message = email.message_from_bytes(await sent("=?utf-8?q?caf=C3=A9?= größer"), policy=email.policy.default)
    assert message["Subject"] == "on =?utf-8?q?caf=C3=A9?= größer"
    (recipient,) = message["To"].addresses
    assert recipient.display_name == "= ?utf-8?q?caf=C3=A9?= größer"


async def test_a_long_word_that_programs_read_is_not_encoded() -> None:
    identity = "<" + "x" * 300 + ",y@example.org>"
    content = await sent(f"db1 {identity}", name="Ops")
    assert f"\r\n {identity}\r\n".encode() in content
    assert email.message_from_bytes(content, policy=email.policy.default)["Subject"] == f"on db1 {identity}"


@pytest.mark.parametrize(
    "host",
    [
        "db1",
        "db1 " * 40 + "end",
        "x" * 1500,
        "größer " + "y" * 300,
        "🔥 payment 👩\u200d👩\u200d👧 " * 10 + "end",
        "служба не отвечает " * 12 + "db1",
        "結帳服務回應緩慢" * 20,
        "端到端 служба é payment служба é служба 端到端",
        "http://db1/?q=?x&y=?",
        "a,b;c, " * 30 + "end",
    ],
)
async def test_a_subject_arrives_letter_by_letter_in_short_lines(host: str) -> None:
    content = await sent(host, name="Ops")
    begin, end = content.index(b"Subject: "), content.index(b"\r\nDate: ")
    lines = content[begin:end].split(b"\r\n")
    assert all(line.isascii() and len(line) <= 76 for line in lines)
    assert email.message_from_bytes(content, policy=email.policy.default)["Subject"] == f"on {host}"
    assert unfolded(email.message_from_bytes(content)["Subject"].replace("\r", "")) == f"on {host}"


async def test_control_characters_do_not_travel() -> None:
    content = await sent("nul \0, escape \x1b[31m, backspace \b, delete \x7f.")
    assert not set(content) & (set(range(32)) - set(b"\t\r\n") | {0x7F})
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message["Subject"] == "on nul �, escape �[31m, backspace �, delete �."
    text = message.get_body(("plain",))
    assert text is not None
    assert "nul �, escape �[31m" in text.get_content()
