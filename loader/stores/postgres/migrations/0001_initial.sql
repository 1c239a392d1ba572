-- The tables of the first version. Users query them: names and columns are an interface.

CREATE TABLE series (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     text NOT NULL,
    sensor     text NOT NULL,
    parameter  text NOT NULL,
    unit       text NOT NULL,
    station    text NOT NULL,
    partition  text NOT NULL,
    name       text NOT NULL DEFAULT '',
    timezone   text NOT NULL DEFAULT '',
    cadence_s  double precision,
    replaces   text,
    first_time timestamptz,
    last_time  timestamptz,
    UNIQUE (source, sensor, parameter, unit)
);
CREATE INDEX series_partition ON series (source, partition);

CREATE TABLE place (
    series_id integer NOT NULL REFERENCES series ON DELETE CASCADE,
    from_time timestamptz NOT NULL,
    latitude  double precision NOT NULL,
    longitude double precision NOT NULL,
    PRIMARY KEY (series_id, from_time)
);

-- No foreign keys here: they would cost more than the write itself. The commit looks the series
-- up under a lock before it writes.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE TABLE reading (
            series_id integer NOT NULL,
            time      timestamptz NOT NULL,
            value     double precision,
            flag      smallint NOT NULL,
            tests     integer NOT NULL,
            run_id    integer NOT NULL,
            PRIMARY KEY (series_id, time)
        );
        PERFORM create_hypertable(
            'reading'::regclass, 'time'::name,
            chunk_time_interval => interval '1 month', create_default_indexes => false
        );
    ELSE
        CREATE TABLE reading (
            series_id integer NOT NULL,
            time      timestamptz NOT NULL,
            value     double precision,
            flag      smallint NOT NULL,
            tests     integer NOT NULL,
            run_id    integer NOT NULL,
            PRIMARY KEY (series_id, time)
        ) PARTITION BY RANGE (time);
    END IF;
END $$;

CREATE TABLE revision (
    series_id integer NOT NULL,
    time      timestamptz NOT NULL,
    old_value double precision,
    new_value double precision,
    run_id    integer NOT NULL
);
CREATE INDEX revision_reading ON revision (series_id, time);

CREATE TABLE quarantine (
    source      text NOT NULL,
    partition   text NOT NULL,
    rule        text NOT NULL,
    digest      text NOT NULL,
    reason      text NOT NULL,
    payload     bytea NOT NULL CHECK (octet_length(payload) <= 65536),
    time        timestamptz,
    first_run   integer NOT NULL,
    last_seen   timestamptz NOT NULL,
    count       bigint NOT NULL,
    replayed_by integer,
    PRIMARY KEY (source, partition, digest)
);
CREATE INDEX quarantine_last_seen ON quarantine (last_seen);
CREATE INDEX quarantine_digest ON quarantine (source, digest);

CREATE TABLE partition (
    source        text NOT NULL,
    partition     text NOT NULL,
    station       text NOT NULL,
    watermark     timestamptz,
    swept_at      timestamptz,
    discovered_at timestamptz NOT NULL,
    listed_at     timestamptz NOT NULL,
    expired_to    timestamptz,
    failures      integer NOT NULL DEFAULT 0,
    last_error    text,
    PRIMARY KEY (source, partition)
);

CREATE TABLE coverage (
    source    text NOT NULL,
    partition text NOT NULL,
    from_time timestamptz NOT NULL,
    to_time   timestamptz NOT NULL CHECK (to_time > from_time),
    PRIMARY KEY (source, partition, from_time)
);

CREATE TABLE hole (
    source    text NOT NULL,
    partition text NOT NULL,
    from_time timestamptz NOT NULL,
    to_time   timestamptz NOT NULL CHECK (to_time > from_time),
    cause     text NOT NULL,
    tries     integer NOT NULL,
    next_try  timestamptz,
    isolated  boolean NOT NULL,
    PRIMARY KEY (source, partition, from_time)
);

CREATE TABLE lateness (
    source    text NOT NULL,
    series_id integer PRIMARY KEY REFERENCES series ON DELETE CASCADE,
    histogram bigint[] NOT NULL
);

CREATE TABLE run (
    id                integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source            text NOT NULL,
    trigger           text NOT NULL,
    started           timestamptz NOT NULL,
    finished          timestamptz,
    outcome           text,
    partitions_ok     integer NOT NULL DEFAULT 0,
    partitions_failed integer NOT NULL DEFAULT 0,
    fetched           bigint NOT NULL DEFAULT 0,
    new               bigint NOT NULL DEFAULT 0,
    duplicate         bigint NOT NULL DEFAULT 0,
    refetched         bigint NOT NULL DEFAULT 0,
    revised           bigint NOT NULL DEFAULT 0,
    late              bigint NOT NULL DEFAULT 0,
    missing           bigint NOT NULL DEFAULT 0,
    suspect           bigint NOT NULL DEFAULT 0,
    failed            bigint NOT NULL DEFAULT 0,
    quarantined       bigint NOT NULL DEFAULT 0,
    vanished          bigint NOT NULL DEFAULT 0,
    due               bigint NOT NULL DEFAULT 0,
    observed          bigint NOT NULL DEFAULT 0,
    inconsistent      bigint NOT NULL DEFAULT 0,
    requests          bigint NOT NULL DEFAULT 0,
    bytes             bigint NOT NULL DEFAULT 0,
    slowest_request_s double precision,
    quality           double precision,
    error             text
);
CREATE INDEX run_source ON run (source, started);
CREATE INDEX run_unfinished ON run (source) WHERE finished IS NULL;

CREATE TABLE batch (
    run_id       integer NOT NULL REFERENCES run,
    seq          integer NOT NULL,
    read_at      timestamptz NOT NULL,
    committed_at timestamptz NOT NULL,
    fetched      bigint NOT NULL DEFAULT 0,
    new          bigint NOT NULL DEFAULT 0,
    duplicate    bigint NOT NULL DEFAULT 0,
    refetched    bigint NOT NULL DEFAULT 0,
    revised      bigint NOT NULL DEFAULT 0,
    late         bigint NOT NULL DEFAULT 0,
    missing      bigint NOT NULL DEFAULT 0,
    suspect      bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    quarantined  bigint NOT NULL DEFAULT 0,
    vanished     bigint NOT NULL DEFAULT 0,
    due          bigint NOT NULL DEFAULT 0,
    observed     bigint NOT NULL DEFAULT 0,
    inconsistent bigint NOT NULL DEFAULT 0,
    requests     bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, seq)
);

-- Who may write a source. `token` only ever grows; `pids` and `starts` name the holder's backends,
-- so that whoever takes over can end exactly those.
CREATE TABLE lease (
    source  text PRIMARY KEY,
    token   bigint NOT NULL DEFAULT 0,
    holder  text NOT NULL DEFAULT '',
    beat_at timestamptz,
    pids    integer[] NOT NULL DEFAULT '{}',
    starts  timestamptz[] NOT NULL DEFAULT '{}'
);

-- Requests used of a shared allowance, a row a window length. The row with window_s 0 carries
-- `blocked_until` for the whole key.
CREATE TABLE budget (
    key           text NOT NULL,
    window_s      integer NOT NULL,
    window_start  timestamptz NOT NULL,
    used          bigint NOT NULL,
    blocked_until timestamptz,
    PRIMARY KEY (key, window_s)
);

CREATE VIEW readings AS
SELECT s.source, s.station, s.sensor, s.parameter, s.unit, r.time,
       CASE WHEN r.flag <> 9 THEN r.value END AS value,
       r.flag, p.latitude, p.longitude
FROM reading r
JOIN series s ON s.id = r.series_id
LEFT JOIN LATERAL (
    SELECT latitude, longitude FROM place
    WHERE place.series_id = r.series_id AND place.from_time <= r.time
    ORDER BY place.from_time DESC
    LIMIT 1
) p ON true;
