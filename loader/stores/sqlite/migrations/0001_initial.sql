-- Times are integer microseconds since 1970-01-01T00:00:00Z. A window is (from_time, to_time].

CREATE TABLE partition (
    source        TEXT NOT NULL,
    partition     TEXT NOT NULL,
    station       TEXT NOT NULL,
    watermark     INTEGER,
    swept_at      INTEGER,
    discovered_at INTEGER NOT NULL,
    listed_at     INTEGER NOT NULL,
    expired_to    INTEGER,
    failures      INTEGER NOT NULL DEFAULT 0,
    last_error    TEXT,
    PRIMARY KEY (source, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE coverage (
    source    TEXT NOT NULL,
    partition TEXT NOT NULL,
    from_time INTEGER NOT NULL,
    to_time   INTEGER NOT NULL CHECK (to_time > from_time),
    PRIMARY KEY (source, partition, from_time),
    FOREIGN KEY (source, partition) REFERENCES partition (source, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE hole (
    source    TEXT NOT NULL,
    partition TEXT NOT NULL,
    from_time INTEGER NOT NULL,
    to_time   INTEGER NOT NULL CHECK (to_time > from_time),
    cause     TEXT NOT NULL,
    tries     INTEGER NOT NULL,
    next_try  INTEGER,
    isolated  INTEGER NOT NULL,
    PRIMARY KEY (source, partition, from_time),
    FOREIGN KEY (source, partition) REFERENCES partition (source, partition)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: an id that was deleted never comes back as another series.
CREATE TABLE series (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    sensor     TEXT NOT NULL,
    parameter  TEXT NOT NULL,
    unit       TEXT NOT NULL,
    partition  TEXT NOT NULL,
    station    TEXT NOT NULL,
    name       TEXT NOT NULL,
    timezone   TEXT NOT NULL,
    cadence_s  REAL,
    replaces   TEXT,
    first_time INTEGER,
    last_time  INTEGER,
    UNIQUE (source, sensor, parameter, unit)
) STRICT;

CREATE INDEX series_partition ON series (source, partition);

-- No foreign key on series_id: checking it for every row costs a quarter of the load's speed, and
-- the id always comes from the same transaction.
CREATE TABLE reading (
    series_id INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    value     REAL,
    flag      INTEGER NOT NULL,
    tests     INTEGER NOT NULL,
    run_id    INTEGER NOT NULL,
    PRIMARY KEY (series_id, time)
) STRICT, WITHOUT ROWID;

CREATE TABLE revision (
    series_id INTEGER NOT NULL REFERENCES series (id),
    time      INTEGER NOT NULL,
    old_value REAL,
    new_value REAL,
    run_id    INTEGER NOT NULL
) STRICT;

CREATE INDEX revision_reading ON revision (series_id, time);

CREATE TABLE place (
    series_id INTEGER NOT NULL REFERENCES series (id),
    from_time INTEGER NOT NULL,
    latitude  REAL NOT NULL,
    longitude REAL NOT NULL,
    PRIMARY KEY (series_id, from_time)
) STRICT, WITHOUT ROWID;

-- histogram: a JSON array, one count per bucket of delays.
CREATE TABLE lateness (
    source    TEXT NOT NULL,
    series_id INTEGER NOT NULL REFERENCES series (id),
    histogram TEXT NOT NULL,
    PRIMARY KEY (source, series_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
    source      TEXT NOT NULL,
    partition   TEXT NOT NULL,
    digest      TEXT NOT NULL,
    rule        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    payload     BLOB NOT NULL,
    time        INTEGER,
    first_run   INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    count       INTEGER NOT NULL DEFAULT 1,
    replayed_by INTEGER,
    PRIMARY KEY (source, partition, digest)
) STRICT;

CREATE INDEX quarantine_last_seen ON quarantine (last_seen);
CREATE INDEX quarantine_digest ON quarantine (source, digest);

CREATE TABLE run (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    source            TEXT NOT NULL,
    "trigger"         TEXT NOT NULL,
    started           INTEGER NOT NULL,
    finished          INTEGER,
    outcome           TEXT,
    partitions_ok     INTEGER NOT NULL DEFAULT 0,
    partitions_failed INTEGER NOT NULL DEFAULT 0,
    fetched           INTEGER NOT NULL DEFAULT 0,
    new               INTEGER NOT NULL DEFAULT 0,
    duplicate         INTEGER NOT NULL DEFAULT 0,
    refetched         INTEGER NOT NULL DEFAULT 0,
    revised           INTEGER NOT NULL DEFAULT 0,
    late              INTEGER NOT NULL DEFAULT 0,
    missing           INTEGER NOT NULL DEFAULT 0,
    suspect           INTEGER NOT NULL DEFAULT 0,
    failed            INTEGER NOT NULL DEFAULT 0,
    quarantined       INTEGER NOT NULL DEFAULT 0,
    vanished          INTEGER NOT NULL DEFAULT 0,
    due               INTEGER NOT NULL DEFAULT 0,
    observed          INTEGER NOT NULL DEFAULT 0,
    inconsistent      INTEGER NOT NULL DEFAULT 0,
    requests          INTEGER NOT NULL DEFAULT 0,
    bytes             INTEGER NOT NULL DEFAULT 0,
    slowest_request_s REAL,
    quality           REAL,
    error             TEXT
) STRICT;

CREATE INDEX run_source ON run (source, id);

CREATE TABLE batch (
    run_id       INTEGER NOT NULL REFERENCES run (id),
    seq          INTEGER NOT NULL,
    read_at      INTEGER NOT NULL,
    committed_at INTEGER NOT NULL,
    fetched      INTEGER NOT NULL,
    new          INTEGER NOT NULL,
    duplicate    INTEGER NOT NULL,
    refetched    INTEGER NOT NULL,
    revised      INTEGER NOT NULL,
    late         INTEGER NOT NULL,
    missing      INTEGER NOT NULL,
    suspect      INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    quarantined  INTEGER NOT NULL,
    vanished     INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    observed     INTEGER NOT NULL,
    inconsistent INTEGER NOT NULL,
    requests     INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- window_s 0 carries `blocked_until` for the whole key.
CREATE TABLE budget (
    key           TEXT NOT NULL,
    window_s      INTEGER NOT NULL,
    window_start  INTEGER NOT NULL,
    used          INTEGER NOT NULL,
    blocked_until INTEGER,
    PRIMARY KEY (key, window_s)
) STRICT, WITHOUT ROWID;

-- For people. Whole seconds are written without a fraction, so that a literal such as
-- '2024-01-31T00:00:00Z' compares as one expects.
CREATE VIEW readings AS
SELECT
    s.source,
    s.station,
    s.sensor,
    s.parameter,
    s.unit,
    strftime('%Y-%m-%dT%H:%M:%S', (r.time - (r.time % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || CASE
            WHEN r.time % 1000000 = 0 THEN 'Z'
            ELSE printf('.%06dZ', (r.time % 1000000 + 1000000) % 1000000)
        END AS time,
    CASE WHEN r.flag <> 9 THEN r.value END AS value,
    r.flag,
    p.latitude,
    p.longitude
FROM reading AS r
JOIN series AS s ON s.id = r.series_id
LEFT JOIN place AS p
    ON p.series_id = r.series_id
    AND p.from_time = (
        SELECT max(q.from_time) FROM place AS q WHERE q.series_id = r.series_id AND q.from_time <= r.time
    );
