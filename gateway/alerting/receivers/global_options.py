"""The `global` section: what receivers fall back to."""

from __future__ import annotations

import msgspec

from gateway.alerting.http_delivery import HttpOptions
from gateway.settings_types import Secret


class GlobalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Names as in the configuration."""

    http: HttpOptions = HttpOptions()
    smtp_from: str = ""
    smtp_hello: str = "localhost"
    smtp_smarthost: str = ""
    smtp_auth_username: str = ""
    smtp_auth_password: Secret = Secret("")
    smtp_auth_identity: str = ""
    smtp_require_tls: bool = True
    slack_api_url: Secret = Secret("")
    pagerduty_url: str = "https://events.pagerduty.com/v2/enqueue"
    opsgenie_api_url: str = "https://api.opsgenie.com/"
    opsgenie_api_key: Secret = Secret("")
