"""From integrations to channels: who sends what the outbox holds."""

from __future__ import annotations

import msgspec

from gateway.alerting.configuration import Configuration, Integration
from gateway.alerting.http_delivery import HttpDelivery
from gateway.alerting.notification import Channel
from gateway.alerting.receivers.apprise import AppriseChannel
from gateway.alerting.receivers.email import EmailChannel, EmailOptions
from gateway.alerting.receivers.opsgenie import OpsgenieChannel, OpsgenieOptions
from gateway.alerting.receivers.pagerduty import PagerDutyChannel, PagerDutyOptions
from gateway.alerting.receivers.slack import Pace, SlackChannel, SlackOptions
from gateway.alerting.receivers.twilio import TwilioChannel
from gateway.alerting.receivers.webhook import WebhookChannel, WebhookOptions
from gateway.alerting.settings import AlertingSettings, AppriseReceiver, SmsReceiver
from gateway.clock import Clock
from gateway.errors import ConfigError


def make_channels(
    configuration: Configuration, settings: AlertingSettings, delivery: HttpDelivery, clock: Clock
) -> dict[str, Channel]:
    """One channel per integration, by the integration's key."""
    paces: dict[tuple[str, str], Pace] = {}
    return {i.key: _channel(i, configuration, settings, delivery, clock, paces) for i in configuration.integrations}


def with_extra_receivers(configuration: Configuration, settings: AlertingSettings) -> Configuration:
    """The configuration with the channels of the settings added to its receivers; raises ConfigError."""
    receivers = dict(configuration.receivers)
    extra: list[tuple[str, int, SmsReceiver | AppriseReceiver]] = []
    extra += [("sms", number, options) for number, options in enumerate(settings.sms)]
    extra += [("apprise", number, options) for number, options in enumerate(settings.apprise)]
    for kind, number, options in extra:
        if options.receiver not in receivers:
            raise ConfigError(
                f'the receiver "{options.receiver}" is not defined',
                key=f"alerting.{kind}",
                expected=", ".join(receivers),
            )
        integration = Integration(
            receiver=options.receiver, kind=kind, index=number, send_resolved=options.send_resolved, options=options
        )
        receivers[options.receiver] = (*receivers[options.receiver], integration)
    return msgspec.structs.replace(configuration, receivers=receivers)


def _channel(
    integration: Integration,
    configuration: Configuration,
    settings: AlertingSettings,
    delivery: HttpDelivery,
    clock: Clock,
    paces: dict[tuple[str, str], Pace],
) -> Channel:
    options = integration.options
    if isinstance(options, WebhookOptions):
        return WebhookChannel(options, delivery, clock, settings.webhook_signing_secret)
    if isinstance(options, SlackOptions):
        pace = paces.setdefault((options.api_url.reveal(), options.channel), Pace())
        buttons = bool(settings.slack_signing_secret)
        return SlackChannel(options, delivery, configuration.texts, pace, buttons=buttons)
    if isinstance(options, PagerDutyOptions):
        return PagerDutyChannel(options, delivery, configuration.texts)
    if isinstance(options, OpsgenieOptions):
        return OpsgenieChannel(options, delivery, configuration.texts)
    if isinstance(options, EmailOptions):
        return EmailChannel(options, configuration.texts, delivery.guard, settings.delivery_timeout)
    if isinstance(options, SmsReceiver):
        return TwilioChannel(integration.key, options, delivery, configuration.texts)
    if isinstance(options, AppriseReceiver):
        return AppriseChannel(options, configuration.texts, delivery.guard)
    raise TypeError(f"no channel for {type(options).__name__}")
