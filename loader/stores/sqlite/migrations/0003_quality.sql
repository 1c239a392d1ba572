-- What is found out about stored readings: quality by day, cadences, anomalies, drift, fitted models.
-- Days are 00:00 UTC; a reading belongs to the day of (time - 1 microsecond).

-- Stretches that commits changed and that were not assessed yet.
CREATE TABLE pending (
    series_id INTEGER PRIMARY KEY REFERENCES series (id),
    from_time INTEGER NOT NULL,
    to_time   INTEGER NOT NULL
) STRICT;

-- What is there already was not assessed either.
INSERT INTO pending SELECT id, first_time - 1, last_time FROM series WHERE first_time IS NOT NULL;

-- late and duplicate are counted by commits, the others by the assessment that follows a run.
CREATE TABLE quality (
    series_id    INTEGER NOT NULL REFERENCES series (id),
    day          INTEGER NOT NULL,
    due          INTEGER NOT NULL DEFAULT 0,
    observed     INTEGER NOT NULL DEFAULT 0,
    good         INTEGER NOT NULL DEFAULT 0,
    unevaluated  INTEGER NOT NULL DEFAULT 0,
    suspect      INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    missing      INTEGER NOT NULL DEFAULT 0,
    late         INTEGER NOT NULL DEFAULT 0,
    duplicate    INTEGER NOT NULL DEFAULT 0,
    inconsistent INTEGER NOT NULL DEFAULT 0,
    score        REAL,
    PRIMARY KEY (series_id, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE cadence (
    series_id INTEGER NOT NULL REFERENCES series (id),
    from_time INTEGER NOT NULL,
    cadence_s REAL NOT NULL CHECK (cadence_s > 0),
    PRIMARY KEY (series_id, from_time)
) STRICT, WITHOUT ROWID;

-- explanation: JSON, the worst sensor first.
CREATE TABLE anomaly (
    series_id   INTEGER NOT NULL REFERENCES series (id),
    time        INTEGER NOT NULL,
    detector    TEXT NOT NULL,
    version     TEXT NOT NULL,
    score       REAL NOT NULL,
    explanation TEXT NOT NULL,
    PRIMARY KEY (series_id, time, detector)
) STRICT, WITHOUT ROWID;

CREATE INDEX anomaly_time ON anomaly (time);

-- time: the end of the weeks that were compared. shift and scale may be infinite.
CREATE TABLE drift (
    series_id INTEGER NOT NULL REFERENCES series (id),
    time      INTEGER NOT NULL,
    against   TEXT NOT NULL,
    reference INTEGER NOT NULL,
    current   INTEGER NOT NULL,
    ks        REAL NOT NULL,
    psi       REAL NOT NULL,
    shift     REAL NOT NULL,
    scale     REAL NOT NULL,
    drifting  INTEGER NOT NULL,
    PRIMARY KEY (series_id, time, against)
) STRICT, WITHOUT ROWID;

-- Where a series stands with a detector.
CREATE TABLE standing (
    series_id INTEGER NOT NULL REFERENCES series (id),
    detector  TEXT NOT NULL,
    alerting  INTEGER NOT NULL,
    latest    INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    seen      INTEGER NOT NULL,
    detail    TEXT NOT NULL,
    PRIMARY KEY (series_id, detector)
) STRICT, WITHOUT ROWID;

-- sensors: a JSON array of series ids, in the order of the model.
CREATE TABLE model (
    source      TEXT NOT NULL,
    station     TEXT NOT NULL,
    detector    TEXT NOT NULL,
    version     TEXT NOT NULL,
    fitted_from INTEGER NOT NULL,
    fitted_to   INTEGER NOT NULL,
    sensors     TEXT NOT NULL,
    data        BLOB NOT NULL,
    PRIMARY KEY (source, station, detector)
) STRICT;

-- For people: the components of the score as shares, NULL where there is nothing to take one of.
CREATE VIEW quality_daily AS
SELECT
    s.source,
    s.station,
    s.sensor,
    s.parameter,
    s.unit,
    strftime('%Y-%m-%d', q.day / 1000000, 'unixepoch') AS day,
    q.score,
    CASE WHEN q.due > 0 THEN min(1.0, 1.0 * q.observed / q.due) END AS completeness,
    CASE WHEN n.readings > q.missing
        THEN 1.0 - 1.0 * (q.suspect + q.failed) / (n.readings - q.missing) END AS validity,
    CASE WHEN n.readings > 0 THEN max(0.0, 1.0 - 1.0 * q.late / n.readings) END AS timeliness,
    CASE WHEN n.readings + q.duplicate > 0
        THEN 1.0 - 1.0 * q.duplicate / (n.readings + q.duplicate) END AS uniqueness,
    CASE WHEN n.readings > 0 THEN max(0.0, 1.0 - 1.0 * q.inconsistent / n.readings) END AS consistency,
    q.due,
    q.observed,
    n.readings,
    q.good,
    q.unevaluated,
    q.suspect,
    q.failed,
    q.missing,
    q.late,
    q.duplicate,
    q.inconsistent
FROM quality AS q
JOIN series AS s ON s.id = q.series_id
JOIN (
    SELECT series_id, day, good + unevaluated + suspect + failed + missing AS readings FROM quality
) AS n ON n.series_id = q.series_id AND n.day = q.day;

-- The same of each run.
CREATE VIEW quality_runs AS
SELECT
    id AS run_id,
    source,
    "trigger",
    strftime('%Y-%m-%dT%H:%M:%SZ', started / 1000000, 'unixepoch') AS started,
    quality AS score,
    CASE WHEN due > 0 THEN min(1.0, 1.0 * observed / due) END AS completeness,
    CASE WHEN new + revised > missing
        THEN 1.0 - 1.0 * (suspect + failed) / (new + revised - missing) END AS validity,
    CASE WHEN new > 0 THEN max(0.0, 1.0 - 1.0 * late / new) END AS timeliness,
    CASE WHEN fetched > 0 THEN 1.0 - 1.0 * duplicate / fetched END AS uniqueness,
    CASE WHEN fetched > 0 THEN max(0.0, 1.0 - 1.0 * inconsistent / fetched) END AS consistency
FROM run
WHERE finished IS NOT NULL;

-- What some check, or the source itself, objects to; the checks by name.
CREATE VIEW flagged AS
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
    r.value,
    r.flag,
    rtrim(
        CASE WHEN r.tests & 1 THEN 'upstream,' ELSE '' END
        || CASE WHEN r.tests & 2 THEN 'sentinel,' ELSE '' END
        || CASE WHEN r.tests & 4 THEN 'gross_range,' ELSE '' END
        || CASE WHEN r.tests & 8 THEN 'unit,' ELSE '' END
        || CASE WHEN r.tests & 16 THEN 'spike,' ELSE '' END
        || CASE WHEN r.tests & 32 THEN 'rate,' ELSE '' END
        || CASE WHEN r.tests & 64 THEN 'flat_line,' ELSE '' END
        || CASE WHEN r.tests & 128 THEN 'gap,' ELSE '' END
        || CASE WHEN r.tests & 256 THEN 'attenuated,' ELSE '' END
        || CASE WHEN r.tests & 512 THEN 'climatology,' ELSE '' END
        || CASE WHEN r.tests & 1024 THEN 'precision,' ELSE '' END
        || CASE WHEN r.tests & 2048 THEN 'neighbours,' ELSE '' END,
        ','
    ) AS objections
FROM reading AS r
JOIN series AS s ON s.id = r.series_id
WHERE r.tests <> 0;
