"""The composition root: the only module that names adapters. Everything is built here from the
configuration and handed to what uses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loader import config as configuration
from loader.config import Config, SourceSettings
from loader.contracts import Database, Source
from loader.errors import AccessDenied, ConfigError, UsageError
from loader.journalcontracts import Journal
from loader.pipeline import Observer, Pipeline
from loader.planner import Policy
from loader.quality.checks import Checks
from loader.readings import SECOND, Series
from loader.settings.rules import rule_of
from loader.sources.openaq.settings import OpenAQSettings
from loader.sources.simulator import SimulatorSettings

if TYPE_CHECKING:
    from loader.alerts.centre import Centre
    from loader.assess import Assessor
    from loader.contracts import Notifier
    from loader.daemon import Plan
    from loader.herald import Audience, DeadMan
    from loader.schedule import Timetable
    from loader.settings.alerting import Channel
    from loader.settings.scheduling import Schedule
    from loader.sources.openaq.api import Location
    from loader.worker import Job

TYPES: dict[str, type[SourceSettings]] = {"openaq": OpenAQSettings, "simulator": SimulatorSettings}
"""The settings of every kind of source, by the `type` that a source block names."""


def now() -> int:
    """The clock of the real world, in microseconds UTC."""
    return time.time_ns() // 1000


def load_config(path: Path) -> Config:
    """Read the configuration file. Raises ConfigError with everything that is wrong in it."""
    return configuration.load(path, TYPES)


def open_store(config: Config) -> Database:
    """Open the configured store and bring its schema up to date."""
    url = config.store.raw
    store: Database
    if url.startswith("sqlite:///"):
        from loader.stores.sqlite import SQLiteStore

        store = SQLiteStore(Path(url.removeprefix("sqlite:///")))
    elif url.startswith(("postgresql://", "postgres://")):
        from loader.stores.postgres import PostgresStore

        store = PostgresStore(url)
    else:
        raise ConfigError(
            "store: must begin with sqlite:/// or postgresql://, such as sqlite:///state/loader.db"
        )
    try:
        store.migrate()
    except BaseException:
        store.close()
        raise
    return store


def chosen(config: Config, names: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """The sources to run: those named, else every enabled one; and why others are skipped."""
    for name in names:
        if name not in config.sources:
            raise UsageError(f"there is no source {name}; config has: {', '.join(config.sources)}")
    run, skipped = [], {}
    for name, settings in config.sources.items():
        if names and name not in names:
            continue
        if not settings.enabled:
            if names:
                skipped[name] = "it is disabled (enabled: false)"
            continue
        reason = settings.unusable()
        if reason:
            skipped[name] = reason
        else:
            run.append(name)
    return run, skipped


def build_source(config: Config, name: str, journal: Journal, stop: threading.Event) -> Source:
    """The source of that name, ready to be asked."""
    settings = config.sources[name]
    earliest, future = config.quality.earliest_us, config.quality.future
    if isinstance(settings, OpenAQSettings):
        from loader.sources.openaq import build

        return build(
            name, settings, journal=journal, clock=now, stop=stop, earliest=earliest, future=future
        )
    if isinstance(settings, SimulatorSettings):
        from loader.sources.simulator import Simulator

        return Simulator(name, settings, now, earliest=earliest, future=future)
    raise ConfigError(f"sources.{name}: no adapter for type {settings.type}")


def find_locations(
    config: Config, name: str | None, place: Mapping[str, str | None], parameter: str | None, limit: int
) -> tuple[list[Location], int]:
    """OpenAQ's locations in a place (near, radius, bbox, country), and how many there are in all.

    Asks with the address and the key of the source called `name`, or of the first OpenAQ source.
    Raises UsageError where there is none, AccessDenied where it has no key.
    """
    from loader.budget import Unlimited
    from loader.sources.openaq import connect
    from loader.sources.openaq.finding import find
    from loader.sources.openaq.settings import choice

    sources = {key: s for key, s in config.sources.items() if isinstance(s, OpenAQSettings)}
    if not sources or (name is not None and name not in sources):
        there = f"; there are: {', '.join(sources)}" if sources else ""
        raise UsageError(f"no source {f'called {name} ' if name else ''}has the type openaq{there}")
    where = choice(**place)
    key = name or next(iter(sources))
    settings = sources[key]
    if reason := settings.unusable():
        raise AccessDenied(f"{key}: {reason}")
    stop = threading.Event()
    http = connect(settings, budget=Unlimited(stop), clock=now, stop=stop)
    try:
        return find(http, where, parameter, limit)
    finally:
        http.close()


def build_check(config: Config, name: str) -> Checks:
    """The checks that every reading of a source goes through."""
    return Checks(rule_of(config.quality, config.sources[name].quality))


def build_cadence(config: Config, name: str) -> Callable[[Series], float | None]:
    """The cadence that is configured for a series, in seconds; None where none is."""
    check = build_check(config, name)
    return lambda series: check.rule(series).cadence / SECOND or None


def build_assessor(config: Config, name: str) -> Assessor:
    """What looks at a source's stored readings after each run. Raises ConfigError where the forest
    is wanted and cannot be fitted."""
    from importlib.util import find_spec

    from loader.assess import Assessor

    if config.anomalies.forest.enabled and find_spec("sklearn") is None:
        raise ConfigError(
            "anomalies.forest: needs scikit-learn, which is not installed: "
            "pip install 'sensor-loader[analysis]', or set anomalies.forest.enabled to false"
        )
    return Assessor(
        anomalies=config.anomalies,
        drift=config.drift,
        check=build_check(config, name),
        weights=config.quality.weights.as_weights(),
    )


def build_policy(settings: SourceSettings) -> Policy:
    """How far and how often a source is read."""
    back, holes = settings.lookback, settings.holes
    return Policy(
        start=settings.initial.start,
        lookback_min=back.min,
        lookback_max=back.max,
        sweep=back.sweep,
        pause=holes.pause,
        max_pause=holes.max_pause,
        tries=holes.tries,
    )


def paces(config: Config) -> dict[str, float]:
    """Requests a second that each source's limits allow, of those that have limits."""
    return {
        name: min(count / seconds for seconds, count in limits.items())
        for name, settings in config.sources.items()
        if (limits := settings.request_limits())
    }


def build_pipeline(
    config: Config, name: str, store: Database, stop: threading.Event, observer: Observer
) -> Pipeline:
    """Everything that one run of one source needs."""
    return Pipeline(
        source=build_source(config, name, store, stop),
        store=store,
        check=build_check(config, name),
        policy=build_policy(config.sources[name]),
        weights=config.quality.weights.as_weights(),
        clock=now,
        stop=stop,
        observer=observer,
        cadence_s=build_cadence(config, name),
    )


def build_channels(config: Config) -> dict[str, tuple[Channel, Notifier]]:
    """The ways out for alerts that are set up, by name."""
    alerts = config.alerts
    channels: dict[str, tuple[Channel, Notifier]] = {}
    if alerts.slack.webhook_url is not None:
        from loader.notifiers.slack import SlackNotifier

        channels["slack"] = (alerts.slack, SlackNotifier(alerts.slack))
    if alerts.email.host:
        from loader.notifiers.email import EmailNotifier

        channels["email"] = (alerts.email, EmailNotifier(alerts.email))
    if alerts.webhook.url is not None:
        from loader.notifiers.webhook import WebhookNotifier

        channels["webhook"] = (alerts.webhook, WebhookNotifier(alerts.webhook))
    if alerts.apprise.urls:
        from loader.notifiers.apprise import AppriseNotifier

        channels["apprise"] = (alerts.apprise, AppriseNotifier(alerts.apprise))
    return channels


def build_ping(config: Config) -> DeadMan | None:
    """The dead man's switch, where one is set up."""
    if config.alerts.ping.url is None:
        return None
    from loader.notifiers.ping import Ping

    return Ping(config.alerts.ping)


def build_centre(config: Config, spool: Path) -> Centre:
    """What looks at the rules and delivers messages."""
    from loader.alerts.centre import Centre, Watched

    watched = {
        name: Watched(
            name=name,
            rules=settings.alerts.over(config.alerts.rules),
            timetable=settings.schedule.timetable,
            lookback_min=settings.lookback.min,
            lookback_max=settings.lookback.max,
            alive=settings.alive,
            weights=config.quality.weights.as_weights(),
        )
        for name, settings in config.sources.items()
    }
    return Centre(
        watched=watched,
        settings=config.alerts,
        limits=config.limits,
        channels=build_channels(config),
        spool=spool,
        disk=sqlite_file(config),
        clock=now,
    )


def sqlite_file(config: Config) -> Path | None:
    """Where the store is a file, that file."""
    url = config.store.raw
    return Path(url.removeprefix("sqlite:///")).absolute() if url.startswith("sqlite:///") else None


def build_audience(config: Config, timetables: Mapping[str, Timetable], spool: Path) -> Audience:
    """Who is told of runs: rules and channels, dead man's switch. `timetables` are those by which
    sources run; of one that is run by somebody else's schedule the next run is not known."""
    from loader.herald import Audience

    return Audience(
        centre=build_centre(config, spool),
        ping=build_ping(config),
        open_store=lambda: open_store(config),
        next_run=lambda name: timetables[name].after(now()) if name in timetables else None,
    )


def build_plan(config: Config, names: tuple[str, ...], schedule: Schedule | None, spool: Path) -> Plan:
    """What the daemon is to do: the sources named (else every enabled one), each by its own
    schedule or all by the one given here."""
    from loader.daemon import Plan
    from loader.worker import Job

    run, skipped = chosen(config, names)

    def job(name: str) -> Job:
        settings = config.sources[name]
        when = settings.schedule if schedule is None else schedule
        return Job(
            name=name,
            timetable=when.timetable,
            jitter=when.jitter,
            run_at_start=when.run_at_start,
            address=config.store,
            open_store=lambda: open_store(config),
            pipeline=lambda store, stop, observer: build_pipeline(config, name, store, stop, observer),
            cutoffs=settings.retention.cutoffs,
            assess=build_assessor(config, name),
        )

    jobs = {name: job(name) for name in run}
    return Plan(
        jobs=jobs,
        skipped=skipped,
        audience=build_audience(config, {name: one.timetable for name, one in jobs.items()}, spool),
        stop_grace=config.daemon.stop_grace,
        scheduler_limit=config.daemon.watchdog.scheduler,
        run_limit=config.daemon.watchdog.run,
    )
