-- Counts of what retention has outdated and of requests that failed; work asked for, alerts and
-- messages on their way, events beyond a limit. JSON is kept as text.

ALTER TABLE run ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN errors INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN errors INTEGER NOT NULL DEFAULT 0;

-- Asked in every commit; empty, and so free, without retention.
CREATE INDEX partition_expired ON partition (source, partition, expired_to) WHERE expired_to IS NOT NULL;

CREATE TABLE limit_event (
    series_id INTEGER NOT NULL REFERENCES series (id),
    level     TEXT NOT NULL,
    threshold REAL NOT NULL,
    from_time INTEGER NOT NULL,
    to_time   INTEGER,
    peak      REAL NOT NULL,
    readings  INTEGER NOT NULL,
    PRIMARY KEY (series_id, from_time, level, threshold)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: who follows a request never comes to look at another one.
CREATE TABLE request (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    arguments  TEXT NOT NULL,
    asked_by   TEXT NOT NULL,
    queued_at  INTEGER NOT NULL,
    state      TEXT NOT NULL DEFAULT 'queued',
    started    INTEGER,
    finished   INTEGER,
    progress   TEXT NOT NULL DEFAULT '',
    result     TEXT NOT NULL DEFAULT '{}',
    error      TEXT,
    cancelling INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX request_open ON request (id) WHERE state IN ('queued', 'running');

CREATE TABLE alert (
    source     TEXT NOT NULL,
    rule       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    phase      TEXT NOT NULL,
    severity   TEXT NOT NULL,
    count      INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    updated    INTEGER NOT NULL,
    alerted_at INTEGER,
    sent       INTEGER NOT NULL,
    last_sent  INTEGER,
    notice     TEXT,
    cause      TEXT NOT NULL,
    value      REAL,
    detail     TEXT NOT NULL,
    PRIMARY KEY (source, rule, subject)
) STRICT, WITHOUT ROWID;

-- notice: the id of the message; message: the whole of it.
CREATE TABLE outbox (
    notice       TEXT NOT NULL,
    channel      TEXT NOT NULL,
    message      TEXT NOT NULL,
    queued_at    INTEGER NOT NULL,
    next_try     INTEGER,
    tries        INTEGER NOT NULL,
    delivered_at INTEGER,
    error        TEXT,
    PRIMARY KEY (notice, channel)
) STRICT;

CREATE INDEX outbox_due ON outbox (next_try) WHERE next_try IS NOT NULL;
CREATE INDEX outbox_queued ON outbox (queued_at);

CREATE TABLE mute (
    source TEXT PRIMARY KEY,
    until  INTEGER NOT NULL,
    reason TEXT NOT NULL,
    "by"   TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
