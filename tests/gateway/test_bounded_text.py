"""Files that people name: what has no end is refused like what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.alerting.configuration import load_configuration
from gateway.alerting.oncall import load_oncall
from gateway.bounded_text import read_text
from gateway.config import load_config
from gateway.errors import ConfigError
from gateway.settings_types import Secret

ENDLESS = Path("/dev/zero")


def test_a_text_has_as_many_characters_as_may_be(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("äöü")
    assert read_text(path, 3) == "äöü"
    with pytest.raises(OSError, match="File too large"):
        read_text(path, 2)


def test_a_device_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: cannot be read: File too large"):
        load_config(ENDLESS)
    with pytest.raises(ConfigError, match="/dev/zero: cannot be read"):
        load_configuration(ENDLESS)
    with pytest.raises(ConfigError, match="/dev/zero: cannot be read"):
        load_oncall(ENDLESS, set())
    with pytest.raises(ValueError, match="secret file /dev/zero cannot be read: File too large"):
        Secret.parse({"file": str(ENDLESS)})


def test_templates_that_match_a_device_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text("route: {receiver: x}\nreceivers: [{name: x}]\ntemplates: [/dev/zero]\n")
    with pytest.raises(ConfigError, match="/dev/zero"):
        load_configuration(path)


@pytest.mark.parametrize("given", [{"file": 1}, {"env": 1}])
def test_a_secret_is_named_by_a_text(given: object) -> None:
    with pytest.raises(ValueError, match="a secret is a string"):
        Secret.parse(given)
