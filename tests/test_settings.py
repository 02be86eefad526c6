"""Settings: read from the environment, all faults at once, no secret in any message."""

from ipaddress import ip_network

import pytest

from app.errors import ConfigurationError
from app.sealing import generate_key
from app.settings import Settings, read_settings, variable_of


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)


def test_every_setting_has_a_default() -> None:
    settings = read_settings()
    assert settings.database_url is None
    assert settings.check_schedule[0] == (36, 5.0)
    assert settings.webhook_schedule_seconds[:3] == (0, 5, 300)


def test_settings_come_from_their_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [generate_key(), generate_key()]
    for name, value in {
        "DATABASE_URL": "postgresql://db/jalur",
        "REDIS_URL": "redis://cache",
        "JALUR_PORT": "9000",
        "JALUR_CHECK_SCHEDULE": "3x1, 2.5",
        "JALUR_WEBHOOK_ALLOW": "127.0.0.0/8,::1",
        "JALUR_WEBHOOK_SCHEDULE_SECONDS": "0,1,2",
        "JALUR_SECRET_KEY": ",".join(keys),
        "JALUR_DATA_DIR": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(host="0.0.0.0")
    assert (settings.database_url, settings.redis_url) == ("postgresql://db/jalur", "redis://cache")
    assert (settings.host, settings.port) == ("0.0.0.0", 9000)
    assert settings.check_schedule == ((3, 1.0), (1, 2.5))
    assert settings.webhook_allow == (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert settings.webhook_schedule_seconds == (0.0, 1.0, 2.0)
    assert settings.require_secret_keys() == keys
    assert settings.data_dir is None


def test_all_faults_are_told_at_once_by_variable_and_without_the_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = {
        "JALUR_PORT": "http",
        "JALUR_LANE_GROUPS": "65",
        "JALUR_CHECK_SCHEDULE": "often",
        "JALUR_WEBHOOK_ALLOW": "10.0.0.1/8",
        "JALUR_WEBHOOK_SCHEDULE_SECONDS": "0,soon",
        "JALUR_SECRET_KEY": "hunter2",
        "JALUR_LOG_FORMAT": "xml",
        "JALUR_LEASE_SECONDS": "-1",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        read_settings()
    for name in wrong:
        assert name in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="JALUR_POLL_MIN_SECONDS"):
        read_settings(poll_min_seconds=3, poll_max_seconds=1)
    with pytest.raises(ConfigurationError, match=r"JALUR_DRAIN_SECONDS .* JALUR_GRACE_SECONDS"):
        read_settings(drain_seconds=5, grace_seconds=5)


def test_a_missing_secret_key_is_asked_for_with_a_way_to_make_one() -> None:
    with pytest.raises(ConfigurationError, match=r"JALUR_SECRET_KEY.*openssl"):
        read_settings().require_secret_keys()


def test_secrets_are_not_printed() -> None:
    key = generate_key()
    settings = read_settings(
        secret_key=key, admin_token="let-me-in", database_url="postgresql://u:pw@db/x"
    )
    assert key not in repr(settings)
    assert "let-me-in" not in repr(settings)
    assert "pw@" not in repr(settings)
