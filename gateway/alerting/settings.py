"""Settings of alerting."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.settings_types import Duration, Secret, Settings


class SmsReceiver(Settings, frozen=True):
    """Adds text messages through Twilio's form interface to a receiver of the configuration."""

    receiver: str
    """Name of the receiver in alertmanager.yml."""
    account_sid: str
    """Twilio account, "AC…"."""
    auth_token: Secret
    """Its token; may be a file or an environment variable."""
    sender: str
    """Number that the messages come from, "+…"."""
    to: tuple[str, ...]
    """Numbers to tell, one message each."""
    api_url: str = "https://api.twilio.com"
    """Base address of the interface."""
    send_resolved: bool = False
    """Whether an end is told as well."""
    status_callback: str = ""
    """Address under which Twilio reaches this gateway's /callbacks/twilio, for instance
    "https://gateway.example/callbacks/twilio"; whether a message arrived is then known. Empty: not asked for."""


class AppriseReceiver(Settings, frozen=True):
    """Adds the channels that the apprise library knows to a receiver of the configuration."""

    receiver: str
    """Name of the receiver in alertmanager.yml."""
    urls: tuple[Secret, ...]
    """Addresses as apprise writes them, for instance "mailtos://…" or "tgram://…"."""
    send_resolved: bool = True
    """Whether an end is told as well."""


class NotificationBudget(Settings, frozen=True):
    """Bounds how many notifications a receiver takes; what is over is told in one digest."""

    receiver: str
    """Name of the receiver in alertmanager.yml; each of its channels has a budget of its own."""
    notifications: int
    """Notifications per `per` that tell of something firing; ends are not counted."""
    per: Duration = Duration(3600)
    """The span, seconds."""
    burst: int = 0
    """Most notifications at once after a quiet time. 0: as many as `notifications`."""
    digest_interval: Duration = Duration(300)
    """From the first notification over the budget to the digest, and between digests. Seconds."""
    exempt: str = 'severity="critical"'
    """Matchers of alerts that are told in any case and not counted. Empty: none."""


class Runbook(Settings, frozen=True):
    """What to do about the alerts that match."""

    matchers: str
    """As in amtool: 'alertname="DiskFull",service=~"db-.+"'."""
    url: str = ""
    """Where the runbook is."""
    title: str = ""
    """Its name."""
    actions: tuple[str, ...] = ()
    """First steps, one line each."""


class AlertingSettings(Settings, frozen=True):
    """How alerts are routed, told to people and remembered."""

    config_file: str = ""
    """Path of an Alertmanager configuration (alertmanager.yml). Empty: the built-in one, everything to the console."""
    webhook_url: Secret = msgspec.field(default_factory=lambda: Secret(""))
    """Shortcut without a configuration file: one webhook receiver for all alerts."""
    webhook_signing_secret: Secret = msgspec.field(default_factory=lambda: Secret(""))
    """Key of the HMAC-SHA256 signature on outgoing webhooks. Empty: not signed."""
    slack_signing_secret: Secret = msgspec.field(default_factory=lambda: Secret(""))
    """Signing secret of the Slack app. With it, messages that can be updated have buttons (acknowledge, snooze,
    resolve), and POST /callbacks/slack takes what is pressed. Empty: no buttons."""
    internal_receivers: tuple[str, ...] = ("loopback",)
    """Internal networks in which receivers may be: "loopback", "private" (10/8, 172.16/12, 192.168/16, 100.64/10,
    fc00::/7) or a network such as "10.1.0.0/16". Public addresses may always be asked; link-local ones, metadata
    services of clouds and redirects from another host to an internal one never."""
    delivery_timeout: Duration = Duration(10)
    """Longest time one delivery attempt may take, seconds."""
    restart_grace: Duration = Duration(120)
    """After a start, alerts whose end was only assumed and passed while the gateway was down stay active this long, so
    that their sender can report them again. Seconds."""
    history_retention: Duration = Duration(90 * 86400)
    """Age at which recorded alert history is removed, seconds."""
    oncall_file: str = ""
    """Path of a YAML file with people, schedules and escalation policies. Empty: none."""
    silence_warning: Duration = Duration(15 * 60)
    """How long before its end a silence that still mutes active alerts is announced as an alert. 0: never. Seconds."""
    max_silences: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Silences kept, expired ones among them. At the limit the one that expired first is forgotten for a new one; where
    none has expired, a new one is refused. 0: no limit."""
    max_alerts: Annotated[int, msgspec.Meta(ge=0)] = 50_000
    """Alerts kept, the gateway's own among them, from which new ones that others send are refused, to be sent again:
    all of them are in memory. 0: no limit."""
    flapping_threshold: int = 5
    """Times an alert begins within an hour from which its notifications say that it is flapping. 0: never."""
    budgets: tuple[NotificationBudget, ...] = ()
    """Bounds on the notifications of receivers."""
    storm_groups: int = 0
    """New groups within a minute from which it is a storm: one summary is told instead of each. 0: no storm mode."""
    storm_factor: float = 10.0
    """How many times the usual number of new groups a minute it must be as well."""
    storm_exempt: str = 'severity="critical"'
    """Matchers of alerts that are told during a storm as ever. Empty: none."""
    storm_release: int = 20
    """If at most this many of the groups a storm held still fire when it ends, they are told one by one."""
    ignored_threshold: int = 0
    """Times an alert is told without anybody acting on it from which it is lowered: repeated rarely, with a note.
    0: never."""
    ignored_repeat: Duration = Duration(86400)
    """How often a lowered alert is repeated, seconds."""
    ignored_exempt: str = 'severity="critical"'
    """Matchers of alerts that are never lowered. Empty: none."""
    correlation_window: Duration = Duration(15 * 60)
    """Longest time between the beginnings of two alerts of one incident group, seconds; each further alert may begin as
    long after the last."""
    incident_linger: Duration = Duration(15 * 60)
    """How long an incident group without active alerts can still be joined, seconds."""
    joining_delay: Duration = Duration(15 * 60)
    """On routes that group by `incident_group` (the built-in one does): how long an alert that joins an incident group
    of which the receiver was told may wait to be told, unless it is more severe. 0: told at the next group interval.
    Seconds."""
    runbooks: tuple[Runbook, ...] = ()
    """Runbooks by matcher; all that match are shown with an alert, in this order."""
    context_in_notifications: Literal["built-in", "always", "never"] = "built-in"
    """Whether notifications say what is known beyond the alerts: incident group, likely cause, runbook, last
    resolution; in webhooks as the object "context" and as annotations that an alert does not have, elsewhere as lines
    of text. "built-in": only without `config_file`, so that an alertmanager.yml of one's own sends what Alertmanager
    sends."""
    sms: tuple[SmsReceiver, ...] = ()
    """Text-message channels."""
    apprise: tuple[AppriseReceiver, ...] = ()
    """Long-tail channels."""

    @property
    def adds_context(self) -> bool:
        """What `context_in_notifications` comes to."""
        mode = self.context_in_notifications
        return mode == "always" or (mode == "built-in" and not self.config_file)
