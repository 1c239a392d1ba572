"""Schedules, retention, limits and alerts in the configuration: what they mean, how they complain."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader import config
from loader.errors import ConfigError
from loader.journal import Severity
from loader.readings import DAY, HOUR
from loader.settings.alerting import format_size, parse_size
from loader.settings.durations import MINUTE
from loader.wiring import TYPES

DEMO = "sources: {demo: {type: simulator}}\n"
SHIPPED = Path(__file__).resolve().parents[2] / "config.yaml"


def load(tmp_path: Path, text: str, **environ: str) -> config.Config:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, TYPES, environ)


def complaint(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text, **environ)
    return str(error.value).replace(f"{tmp_path}/", "")


def in_source(block: str) -> str:
    return f"sources:\n  demo:\n    type: simulator\n    {block}\n"


def test_a_channel_without_its_variable_is_off() -> None:
    """The shipped configuration loads with none of the variables set, and tells nobody."""
    alerts = config.load(SHIPPED, TYPES, {}).alerts
    assert alerts.slack.webhook_url is alerts.email.host is alerts.webhook.url is alerts.ping.url is None
    assert alerts.webhook.secrets == ()


def test_setting_a_variable_turns_its_channel_on() -> None:
    """The address comes from the environment, and never shows."""
    url = "https://hooks.slack.com/services/T0/B0/verysecret"
    slack = config.load(SHIPPED, TYPES, {"SLACK_WEBHOOK_URL": url}).alerts.slack
    assert slack.webhook_url is not None
    assert slack.webhook_url.get_secret_value() == url
    assert "verysecret" not in repr(slack)


def test_a_mail_server_without_anybody_to_tell_is_an_error() -> None:
    """With SMTP_HOST set and `to: []` the line of the mail block is named."""
    with pytest.raises(
        ConfigError, match=r"config\.yaml:\d+:\d+: alerts\.email: .*name at least one address"
    ):
        config.load(SHIPPED, TYPES, {"SMTP_HOST": "smtp.example.org"})


@pytest.mark.parametrize("value", ["5", "{at: 5}", '"5"'])
def test_a_rule_keeps_the_severity_that_it_does_not_name(tmp_path: Path, value: str) -> None:
    """`failures: 5` changes the number, and leaves the rule critical."""
    rule = load(tmp_path, DEMO + f"alerts: {{rules: {{failures: {value}}}}}\n").alerts.rules.failures
    assert (rule.at, rule.severity, rule.enabled) == (5, Severity.CRITICAL, True)


def test_a_rule_keeps_the_number_that_it_does_not_name(tmp_path: Path) -> None:
    """Severity and switch may stand alone."""
    text = "alerts: {rules: {memory: {severity: critical}, store: {enabled: false}, failures: }}\n"
    rules = load(tmp_path, DEMO + text).alerts.rules
    assert (rules.memory.at, rules.memory.severity) == (400 << 20, Severity.CRITICAL)
    assert (rules.store.at, rules.store.enabled) == (MINUTE, False)
    assert rules.failures.at == 3


def test_a_source_has_its_own_rules_over_the_common_ones(tmp_path: Path) -> None:
    """What a source does not name is as for all: number, severity, switch."""
    text = (
        in_source("alerts: {failures: 7, freshness: {enabled: false}}") + "alerts: {rules: {missed: 4}}\n"
    )
    loaded = load(tmp_path, text)
    rules = loaded.sources["demo"].alerts.over(loaded.alerts.rules)
    assert (rules.failures.at, rules.failures.severity) == (7, Severity.CRITICAL)
    assert (rules.freshness.at, rules.freshness.enabled) == (3, False)
    assert rules.missed.at == 4


def test_a_webhook_may_have_two_secrets(tmp_path: Path) -> None:
    """One stands alone, two stand in a list, the new one first."""
    block = "alerts: {webhook: {url: https://example.org/, secret: %s}}\n"
    one = load(tmp_path, DEMO + block % '"${NEW}"', NEW="n").alerts.webhook
    two = load(tmp_path, DEMO + block % '["${NEW}", old]', NEW="n").alerts.webhook
    assert (one.secrets, two.secrets) == (("n",), ("n", "old"))


def test_a_schedule_is_every_or_cron(tmp_path: Path) -> None:
    """Two hours unless said otherwise; a crontab line counts in its zone."""
    usual = load(tmp_path, DEMO).sources["demo"].schedule.timetable
    assert usual.after(0) == 2 * HOUR
    cron = load(tmp_path, in_source('schedule: {cron: "17 */2 * * *", timezone: Asia/Kolkata}'))
    assert cron.sources["demo"].schedule.timetable.after(0) == HOUR // 60 * 47
    assert cron.sources["demo"].schedule.timetable.after(HOUR) == HOUR // 60 * 167


def test_retention_cuts_at_midnight(tmp_path: Path) -> None:
    """What is not named is kept; the rest goes in whole days."""
    kept = load(tmp_path, in_source("retention: {readings: 30d}")).sources["demo"].retention
    cutoffs = kept.cutoffs(100 * DAY + 5 * HOUR)
    assert (cutoffs.readings, cutoffs.runs) == (70 * DAY, None)
    assert not load(tmp_path, DEMO).sources["demo"].retention.cutoffs(100 * DAY)


def test_sizes_are_read_back_as_written() -> None:
    """Sizes are multiples of 1024."""
    assert [parse_size(t) for t in ("400MB", "1.5 GB", "10kB", "512", "3MiB")] == [
        400 << 20,
        3 << 29,
        10 << 10,
        512,
        3 << 20,
    ]
    assert [format_size(parse_size(t)) for t in ("400MB", "2GB", "10kB")] == ["400MB", "2GB", "10kB"]


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ("alerts: {rules: {failures: false}}", "2:28: alerts.rules.failures", "write {enabled: false}"),
        ("alerts: {rules: {failures: 0}}", "2:28: alerts.rules.failures", "at least 1"),
        ("alerts: {rules: {failurs: 3}}", "2:18: alerts.rules.failurs", "did you mean failures?"),
        ("alerts: {rules: {memory: 4 Mbit}}", "2:26: alerts.rules.memory", "write 400MB or 2GB"),
        ("alerts: {rules: {store: 60}}", "2:25: alerts.rules.store", "has no unit"),
        ("alerts: {rules: {disk_free: 10%}}", "2:29: alerts.rules.disk_free", "must be a number"),
        ("alerts: {slack: {sources: [dmo]}}", "2:28: alerts.slack.sources[0]", "did you mean demo?"),
        ("alerts: {slack: {severities: [bad]}}", "2:31: alerts.slack.severities[0]", "warning or critical"),
        ("alerts: {email: {host: m, to: [x@y.z]}}", "2:17: alerts.email", "name an address in `from`"),
        ("alerts: {email: {to: [nobody]}}", "2:22: alerts.email.to", "write one such as"),
        ('alerts: {email: {to: ["${WHO}"]}}', "2:23: alerts.email.to[0]", "the variable WHO is not set"),
        ("alerts: {email: {host: 'm:25'}}", "2:24: alerts.email.host", "stands in `port`"),
        ("alerts: {telegram: {}}", "2:10: alerts.telegram", "is no known key"),
        ("limits: {pm25: {}}", "2:16: limits.pm25", "give it a warning or a critical one"),
        ("limits: {pm25: {warning: 5, critical: 3}}", "2:16: limits.pm25", "exchange them"),
        ("limits: {pm25: {warning: 5, below: true, critical: 9}}", "2:16: limits.pm25", "exchange them"),
        ("limits: {pm25: {warning: 1, persistence: [3, 2]}}", "2:16: limits.pm25", "write [n, m]"),
        ("limits: {pm25: {warning: 1, persistence: [3]}}", "2:42: limits.pm25.persistence", "number 2"),
        ("limits: {a: {sources: {dmo: {warning: 1}}}}", "2:24: limits.a.sources.dmo", "did you mean demo?"),
        ("daemon: {stop_grace: 0s}", "2:22: daemon.stop_grace", "at least 1s"),
    ],
)
def test_what_is_wrong_is_told_with_place_and_remedy(
    tmp_path: Path, text: str, place: str, remedy: str
) -> None:
    """File, line, column and key come first, then what to do."""
    said = complaint(tmp_path, DEMO + text + "\n")
    assert said.startswith(f"config.yaml:{place}: ")
    assert remedy in said


@pytest.mark.parametrize(
    ("block", "place", "remedy"),
    [
        ("schedule: 2h", "15: sources.demo.schedule", "must be a block of keys"),
        ("schedule: {every: 2}", "23: sources.demo.schedule.every", "has no unit"),
        ("schedule: {every: 2h, cron: '@daily'}", "15: sources.demo.schedule", "keep one of them"),
        ("schedule: {cron: '17 */2 * *'}", "22: sources.demo.schedule.cron", "write minute hour day"),
        ("schedule: {timezone: Mars}", "26: sources.demo.schedule.timezone", "such as Europe/Paris"),
        ("retention: {readings: 3h}", "27: sources.demo.retention.readings", "at least 1d"),
        ("alerts: {memory: 3MB}", "14: sources.demo.alerts.memory", "is no known key"),
    ],
)
def test_what_is_wrong_in_a_source_is_told_likewise(
    tmp_path: Path, block: str, place: str, remedy: str
) -> None:
    """So is what stands in a source's block."""
    said = complaint(tmp_path, in_source(block))
    assert said.startswith(f"config.yaml:4:{place}: ")
    assert remedy in said


@pytest.mark.parametrize(
    "block",
    [
        "{slack: {webhook_url: hooks.slack.com/hush}}",
        "{slack: https://hooks.slack.com/hush}",
        "{webhook: {url: 'ftp://example.org/hush'}}",
        "{webhook: {url: https://example.org/, secret: {a: hush}}}",
        "{ping: {url: 'https:///hush'}}",
        "{apprise: {urls: 'tgram://hush'}}",
        "{apprise: {urls: [hush]}}",
    ],
)
def test_a_refused_secret_is_not_repeated(tmp_path: Path, block: str) -> None:
    """Whoever reads the log must not learn how to write to the channel."""
    said = complaint(tmp_path, DEMO + f"alerts: {block}\n")
    assert said.startswith("config.yaml:2:")
    assert "hush" not in said
