"""The e-mail channel: SMTP with STARTTLS, a message of text and HTML, one thread per group.

The first message of a group gets a Message-ID; later ones refer to it, so that mail programs show one thread. Port
465 is TLS from the start; elsewhere STARTTLS is used, and demanded where `require_tls` holds (the default). A refused
recipient or a 5xx answer is final; 4xx answers and failures of connection are tried again.

Labels are whatever a sender wrote. In a header nothing of them is read as an encoded word (RFC 2047), which could hold
the end of the line and further headers, and control characters, for which servers refuse a message, are shown as �. A
subject and other free text arrive letter by letter, in whatever languages they are; in names beside addresses, which
the library folds, `=?` becomes `= ?`.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
import textwrap
from collections.abc import Mapping
from email.header import Header
from email.headerregistry import Address, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import Policy
from typing import Final

import aiosmtplib
import msgspec

from gateway.alerting.address_guard import AddressGuard
from gateway.alerting.document import Section
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Again, Delivered, Notification, Outcome, Refused, composed
from gateway.alerting.receivers.global_options import GlobalOptions
from gateway.alerting.template import Texts
from gateway.settings_types import Secret

_SUBJECT: Final = '{{ template "email.default.subject" . }}'
_CONTROLS: Final = dict.fromkeys(
    [*(c for c in range(0x20) if chr(c) not in "\t\n\r"), 0x7F], "\N{REPLACEMENT CHARACTER}"
)
_LONGEST_WORD: Final = 900
"""Characters of a word that stands on a line of its own as it is, as addresses and ids for programs must (RFC 5322
allows 998 of a line); a longer one is encoded."""
_LINE: Final = 75
"""Characters of a line, without the space at its beginning, of which RFC 2047 allows 76 in all."""


class EmailOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `email_configs`."""

    to: str
    sender: str
    host: str
    port: int
    hello: str
    username: str
    password: Secret
    require_tls: bool
    ca_file: str
    server_name: str
    insecure_skip_verify: bool
    headers: dict[str, str]
    html: str
    text: str


def read_options(section: Section, globals_: GlobalOptions) -> EmailOptions:
    """Raises ConfigError."""
    smarthost = section.text("smarthost", globals_.smtp_smarthost)
    host, _, port = smarthost.rpartition(":")
    if not host or not port.isdecimal():
        raise section.value.refuse("smarthost must be given here or as smtp_smarthost in global", "host:port")
    sender = section.text("from", globals_.smtp_from)
    if not sender:
        raise section.value.refuse("from must be given here or as smtp_from in global")
    headers = section.take("headers")
    password = section.secret("auth_password") or globals_.smtp_auth_password
    identity = section.text("auth_identity", globals_.smtp_auth_identity)
    username = section.text("auth_username", globals_.smtp_auth_username)
    if identity and identity != username:
        raise section.value.refuse("an auth_identity other than auth_username is not supported")
    tls = section.take("tls_config")
    tls_texts: Mapping[str, str] = {}
    skip = False
    if tls is not None:
        below = tls.section()
        tls_texts = {key: below.text(key) for key in ("ca_file", "server_name")}
        skip = below.boolean("insecure_skip_verify", False)
        below.finish("ca_file, server_name, insecure_skip_verify")
    return EmailOptions(
        to=section.must("to").text(),
        sender=sender,
        host=host.strip("[]"),
        port=int(port),
        hello=section.text("hello", globals_.smtp_hello),
        username=username,
        password=password,
        require_tls=section.boolean("require_tls", globals_.smtp_require_tls),
        ca_file=tls_texts.get("ca_file", ""),
        server_name=tls_texts.get("server_name", ""),
        insecure_skip_verify=skip,
        headers={} if headers is None else headers.texts(),
        html=section.text("html", '{{ template "email.default.html" . }}'),
        text=section.text("text", '{{ template "email.default.text" . }}'),
    )


class FreeText(str):
    """The value of a header without structure, as what it says. It knows how to be folded, which the library asks of
    its own values: theirs lose spaces where encoded words meet others at the end of a line."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, name: str, text: str) -> FreeText:
        """name: of the header; text: one line."""
        made = super().__new__(cls, text)
        made.name = name
        return made

    def fold(self, *, policy: Policy) -> str:
        """The header in lines of 76 characters, or of one longer word; encoded as a whole where it could not be read as
        it is."""
        begin = f"{self.name}: "
        if self.isascii() and "=?" not in self and all(len(word) <= _LONGEST_WORD for word in self.split()):
            lines = textwrap.wrap(self, _LINE, initial_indent=begin, break_long_words=False, break_on_hyphens=False)
            return f"{policy.linesep} ".join(lines or [begin]) + policy.linesep
        value = Header(str(self), "utf-8", maxlinelen=_LINE, header_name=self.name)
        return begin + value.encode(linesep=policy.linesep) + policy.linesep


def header_line(rendered: str) -> str:
    """A rendered template on one line."""
    return " ".join(rendered.split()).translate(_CONTROLS)


def texts_of(options: EmailOptions) -> list[str]:
    """The templates in the options."""
    return [options.to, options.sender, options.html, options.text, *options.headers.values()]


class EmailChannel:
    """See Channel."""

    concurrency = 4

    def __init__(self, options: EmailOptions, texts: Texts, guard: AddressGuard, timeout: float) -> None:
        self._options, self._texts, self._guard, self._timeout = options, texts, guard, timeout

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        try:
            message = await composed(notification, self._message)
        except ValueError as error:
            return Refused(f"the message cannot be made: {error}")
        options = self._options
        implicit = options.port == 465
        try:
            async with asyncio.timeout(self._timeout):
                connected = await self._guard.connect(options.host, options.port)
        except (OSError, TimeoutError) as error:
            return Again(f"cannot connect: {error!r}"[:300])
        client = aiosmtplib.SMTP(
            hostname=options.server_name or options.host,
            sock=connected,
            local_hostname=options.hello or None,
            use_tls=implicit,
            start_tls=False if implicit else (True if options.require_tls else None),
            tls_context=self._tls(),
            username=options.username or None,
            password=options.password.reveal() or None,
            timeout=self._timeout,
        )
        begun = False
        try:
            async with client:
                begun = True
                refused, _ = await client.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [recipient.code for recipient in error.recipients]
            text = "; ".join(f"{r.recipient}: {r.code} {r.message}" for r in error.recipients)
            return Again(text) if all(400 <= code < 500 for code in codes) else Refused(text)
        except aiosmtplib.SMTPResponseException as error:
            text = f"{error.code} {error.message}"
            return Again(text) if 400 <= error.code < 500 else Refused(text)
        except aiosmtplib.SMTPNotSupported as error:
            return Refused(str(error))
        except aiosmtplib.SMTPConnectError as error:
            return Again(f"cannot connect: {error}"[:300])
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return Again(f"{type(error).__name__}: {error}"[:300], uncertain=begun)
        detail = "; ".join(f"{name}: {answer}" for name, answer in refused.items())
        return Delivered({"message_id": notification.memory.get("message_id") or str(message["Message-ID"])}, detail)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._options.ca_file or None)
        if self._options.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _message(self, notification: Notification) -> EmailMessage:
        options, data = self._options, notification.data()
        message, kinds = EmailMessage(), HeaderRegistry()
        headers = {name.title(): text for name, text in options.headers.items()}
        headers = {"From": options.sender, "To": options.to, "Subject": _SUBJECT} | headers
        for name, template in headers.items():
            value = header_line(self._texts.render(template, data))
            if issubclass(kinds[name], UnstructuredHeader):
                message[name] = FreeText(name, value)
                continue
            value = value.replace("=?", "= ?")
            if name in ("From", "To", "Cc", "Reply-To"):
                message[name] = [
                    Address(shown, addr_spec=address) for shown, address in email.utils.getaddresses([value])
                ]
            else:
                message[name] = value
        domain = str(message["From"].addresses[0].domain) or "gateway.invalid"
        own = {
            "Date": email.utils.formatdate(notification.at / SECOND),
            "Message-ID": f"<{notification.id}@{domain}>",
        }
        for name, value in own.items():
            if name not in message:
                message[name] = value
        first = notification.memory.get("message_id")
        if first:
            message["In-Reply-To"] = first
            message["References"] = first
        note = f"{notification.remarks}\n\n" if notification.remarks else ""
        message.set_content((note + self._texts.render(options.text, data)).translate(_CONTROLS))
        if options.html:
            page = self._texts.render(options.html, data, escape=True).translate(_CONTROLS)
            message.add_alternative(page, subtype="html")
        return message
