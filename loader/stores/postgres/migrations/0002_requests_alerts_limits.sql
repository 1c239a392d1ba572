-- Counts of what retention has outdated and of requests that failed; work asked for, alerts and
-- messages on their way, events beyond a limit.
--
-- On TimescaleDB no compression and no retention policy: late and revised readings are written
-- into chunks of any age, and only the loader knows what has expired.

ALTER TABLE run
    ADD COLUMN expired bigint NOT NULL DEFAULT 0,
    ADD COLUMN errors  bigint NOT NULL DEFAULT 0;

ALTER TABLE batch
    ADD COLUMN expired bigint NOT NULL DEFAULT 0,
    ADD COLUMN errors  bigint NOT NULL DEFAULT 0;

-- Work that a command asked the holder of a source's lease to do.
CREATE TABLE request (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     text NOT NULL,
    kind       text NOT NULL,
    arguments  jsonb NOT NULL,
    asked_by   text NOT NULL,
    queued_at  timestamptz NOT NULL,
    state      text NOT NULL DEFAULT 'queued',
    started    timestamptz,
    finished   timestamptz,
    progress   text NOT NULL DEFAULT '',
    result     jsonb NOT NULL DEFAULT '{}',
    error      text,
    cancelling boolean NOT NULL DEFAULT false
);
CREATE INDEX request_source ON request (source, id);
CREATE INDEX request_open ON request (id) WHERE finished IS NULL;

-- What is not well; what is well has no row.
CREATE TABLE alert (
    source     text NOT NULL,
    rule       text NOT NULL,
    subject    text NOT NULL,
    phase      text NOT NULL,
    severity   text NOT NULL,
    count      bigint NOT NULL,
    since      timestamptz NOT NULL,
    updated    timestamptz NOT NULL,
    alerted_at timestamptz,
    sent       integer NOT NULL DEFAULT 0,
    last_sent  timestamptz,
    notice     text,
    cause      text NOT NULL DEFAULT '',
    value      double precision,
    detail     text NOT NULL DEFAULT '',
    PRIMARY KEY (source, rule, subject)
);

-- notice: the id of the message; message: the whole of it. It waits while `next_try` is there.
CREATE TABLE outbox (
    notice       text NOT NULL,
    channel      text NOT NULL,
    message      jsonb NOT NULL,
    queued_at    timestamptz NOT NULL,
    next_try     timestamptz,
    tries        integer NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    error        text,
    PRIMARY KEY (notice, channel)
);
CREATE INDEX outbox_due ON outbox (next_try) WHERE next_try IS NOT NULL;
CREATE INDEX outbox_queued ON outbox (queued_at);

CREATE TABLE mute (
    source text PRIMARY KEY,
    until  timestamptz NOT NULL,
    reason text NOT NULL,
    by     text NOT NULL,
    at     timestamptz NOT NULL
);

-- Stretches in which a series was beyond a limit; without `to_time` it still is.
CREATE TABLE limit_event (
    series_id integer NOT NULL REFERENCES series ON DELETE CASCADE,
    level     text NOT NULL,
    threshold double precision NOT NULL,
    from_time timestamptz NOT NULL,
    to_time   timestamptz,
    peak      double precision NOT NULL,
    readings  bigint NOT NULL,
    PRIMARY KEY (series_id, from_time, level, threshold)
);

-- Retention looks for these.
CREATE INDEX run_finished ON run (source, finished);
