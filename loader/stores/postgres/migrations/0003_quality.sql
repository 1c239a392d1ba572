-- What is found out about stored readings: quality by day, cadences, anomalies, drift, fitted models.
-- Days are 00:00 UTC; a reading belongs to the day of (time - 1 microsecond).

-- Stretches that commits changed and that were not assessed yet.
CREATE TABLE pending (
    series_id integer PRIMARY KEY REFERENCES series ON DELETE CASCADE,
    from_time timestamptz NOT NULL,
    to_time   timestamptz NOT NULL
);

-- What is there already was not assessed either.
INSERT INTO pending (series_id, from_time, to_time)
SELECT id, first_time - interval '1 microsecond', last_time FROM series WHERE first_time IS NOT NULL;

-- late and duplicate are counted by commits, the others by the assessment that follows a run.
CREATE TABLE quality (
    series_id    integer NOT NULL REFERENCES series ON DELETE CASCADE,
    day          timestamptz NOT NULL,
    due          bigint NOT NULL DEFAULT 0,
    observed     bigint NOT NULL DEFAULT 0,
    good         bigint NOT NULL DEFAULT 0,
    unevaluated  bigint NOT NULL DEFAULT 0,
    suspect      bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    missing      bigint NOT NULL DEFAULT 0,
    late         bigint NOT NULL DEFAULT 0,
    duplicate    bigint NOT NULL DEFAULT 0,
    inconsistent bigint NOT NULL DEFAULT 0,
    score        double precision,
    PRIMARY KEY (series_id, day)
);

CREATE TABLE cadence (
    series_id integer NOT NULL REFERENCES series ON DELETE CASCADE,
    from_time timestamptz NOT NULL,
    cadence_s double precision NOT NULL CHECK (cadence_s > 0),
    PRIMARY KEY (series_id, from_time)
);

-- explanation: the worst sensor first.
CREATE TABLE anomaly (
    series_id   integer NOT NULL REFERENCES series ON DELETE CASCADE,
    time        timestamptz NOT NULL,
    detector    text NOT NULL,
    version     text NOT NULL,
    score       double precision NOT NULL,
    explanation json NOT NULL,
    PRIMARY KEY (series_id, time, detector)
);
CREATE INDEX anomaly_time ON anomaly (time);

-- time: the end of the weeks that were compared. shift and scale may be infinite.
CREATE TABLE drift (
    series_id integer NOT NULL REFERENCES series ON DELETE CASCADE,
    time      timestamptz NOT NULL,
    against   text NOT NULL,
    reference bigint NOT NULL,
    current   bigint NOT NULL,
    ks        double precision NOT NULL,
    psi       double precision NOT NULL,
    shift     double precision NOT NULL,
    scale     double precision NOT NULL,
    drifting  boolean NOT NULL,
    PRIMARY KEY (series_id, time, against)
);

-- Where a series stands with a detector.
CREATE TABLE standing (
    series_id integer NOT NULL REFERENCES series ON DELETE CASCADE,
    detector  text NOT NULL,
    alerting  boolean NOT NULL,
    latest    bigint NOT NULL,
    since     timestamptz NOT NULL,
    seen      timestamptz NOT NULL,
    detail    text NOT NULL,
    PRIMARY KEY (series_id, detector)
);

-- sensors: series ids, in the order of the model.
CREATE TABLE model (
    source      text NOT NULL,
    station     text NOT NULL,
    detector    text NOT NULL,
    version     text NOT NULL,
    fitted_from timestamptz NOT NULL,
    fitted_to   timestamptz NOT NULL,
    sensors     integer[] NOT NULL,
    data        bytea NOT NULL,
    PRIMARY KEY (source, station, detector)
);

-- For people: the components of the score as shares, NULL where there is nothing to take one of.
CREATE VIEW quality_daily AS
SELECT s.source, s.station, s.sensor, s.parameter, s.unit, (q.day AT TIME ZONE 'UTC')::date AS day, q.score,
       CASE WHEN q.due > 0 THEN least(1, q.observed::float8 / q.due) END AS completeness,
       CASE WHEN n.readings > q.missing
           THEN 1 - (q.suspect + q.failed)::float8 / (n.readings - q.missing) END AS validity,
       CASE WHEN n.readings > 0 THEN greatest(0, 1 - q.late::float8 / n.readings) END AS timeliness,
       CASE WHEN n.readings + q.duplicate > 0
           THEN 1 - q.duplicate::float8 / (n.readings + q.duplicate) END AS uniqueness,
       CASE WHEN n.readings > 0 THEN greatest(0, 1 - q.inconsistent::float8 / n.readings) END AS consistency,
       q.due, q.observed, n.readings, q.good, q.unevaluated, q.suspect, q.failed, q.missing,
       q.late, q.duplicate, q.inconsistent
FROM quality q
JOIN series s ON s.id = q.series_id
CROSS JOIN LATERAL (SELECT q.good + q.unevaluated + q.suspect + q.failed + q.missing AS readings) n;

-- The same of each run.
CREATE VIEW quality_runs AS
SELECT id AS run_id, source, trigger, started, quality AS score,
       CASE WHEN due > 0 THEN least(1, observed::float8 / due) END AS completeness,
       CASE WHEN new + revised > missing
           THEN 1 - (suspect + failed)::float8 / (new + revised - missing) END AS validity,
       CASE WHEN new > 0 THEN greatest(0, 1 - late::float8 / new) END AS timeliness,
       CASE WHEN fetched > 0 THEN 1 - duplicate::float8 / fetched END AS uniqueness,
       CASE WHEN fetched > 0 THEN greatest(0, 1 - inconsistent::float8 / fetched) END AS consistency
FROM run
WHERE finished IS NOT NULL;

-- What some check, or the source itself, objects to; the checks by name.
CREATE VIEW flagged AS
SELECT s.source, s.station, s.sensor, s.parameter, s.unit, r.time, r.value, r.flag,
       array_to_string(ARRAY[
           CASE WHEN r.tests & 1 <> 0 THEN 'upstream' END,
           CASE WHEN r.tests & 2 <> 0 THEN 'sentinel' END,
           CASE WHEN r.tests & 4 <> 0 THEN 'gross_range' END,
           CASE WHEN r.tests & 8 <> 0 THEN 'unit' END,
           CASE WHEN r.tests & 16 <> 0 THEN 'spike' END,
           CASE WHEN r.tests & 32 <> 0 THEN 'rate' END,
           CASE WHEN r.tests & 64 <> 0 THEN 'flat_line' END,
           CASE WHEN r.tests & 128 <> 0 THEN 'gap' END,
           CASE WHEN r.tests & 256 <> 0 THEN 'attenuated' END,
           CASE WHEN r.tests & 512 <> 0 THEN 'climatology' END,
           CASE WHEN r.tests & 1024 <> 0 THEN 'precision' END,
           CASE WHEN r.tests & 2048 <> 0 THEN 'neighbours' END
       ], ',') AS objections
FROM reading r
JOIN series s ON s.id = r.series_id
WHERE r.tests <> 0;
