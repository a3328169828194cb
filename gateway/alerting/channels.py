"""From integrations to channels: who sends what the outbox holds."""

from __future__ import annotations

from gateway.alerting.configuration import Configuration, Integration
from gateway.alerting.http_delivery import HttpDelivery
from gateway.alerting.notification import Channel
from gateway.alerting.receivers.webhook import WebhookChannel, WebhookOptions
from gateway.alerting.settings import AlertingSettings
from gateway.clock import Clock


def make_channels(
    configuration: Configuration, settings: AlertingSettings, delivery: HttpDelivery, clock: Clock
) -> dict[str, Channel]:
    """One channel per integration, by the integration's key."""
    return {i.key: _channel(i, configuration, settings, delivery, clock) for i in configuration.integrations}


def _channel(
    integration: Integration,
    configuration: Configuration,
    settings: AlertingSettings,
    delivery: HttpDelivery,
    clock: Clock,
) -> Channel:
    options = integration.options
    if isinstance(options, WebhookOptions):
        return WebhookChannel(options, delivery, clock, settings.webhook_signing_secret)
    raise TypeError(f"no channel for {type(options).__name__}")
