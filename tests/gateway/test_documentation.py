"""The documentation says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config import Config, is_settings, plain_type
from gateway.config_reference import field_texts, render, tables_of
from gateway.settings_types import Settings

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_configuration_page_is_current() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == render(), "run: .venv/bin/gateway check-config --reference > docs/configuration.md"


def test_every_option_is_documented_where_it_is_declared() -> None:
    for name, kind in Config.__annotations__.items():
        del kind
        section = type(getattr(Config(), name))
        assert is_settings(plain_type(section))
        assert issubclass(section, Settings)
        for at, table in ((name, section), *((f"{name}.{key}", inner) for key, inner in tables_of(section))):
            missing = [f for f in table.__struct_fields__ if not field_texts(table).get(f)]
            assert not missing, f"[{at}] {missing}"


def test_arrays_of_tables_have_their_own_part_of_the_page() -> None:
    page = render()
    for key in ("access.tokens", "access.users", "access.client_certificates", "alerting.sms", "alerting.apprise"):
        assert f"\n### [[{key}]]\n" in page


def test_files_named_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
