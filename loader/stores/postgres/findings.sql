-- What is found out about stored readings after a run.

-- name: lock_one_series
SELECT partition, first_time, last_time FROM series
WHERE id = %(id)s AND source = %(source)s FOR NO KEY UPDATE;

-- name: lock_assessed
SELECT id FROM series WHERE id = ANY (%(ids)s) AND source = %(source)s ORDER BY id FOR NO KEY UPDATE;

-- name: add_pending
INSERT INTO pending (series_id, from_time, to_time)
SELECT k.* FROM unnest(%(ids)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS k
ON CONFLICT (series_id) DO UPDATE
SET from_time = least(pending.from_time, excluded.from_time),
    to_time = greatest(pending.to_time, excluded.to_time);

-- name: count_late
INSERT INTO quality (series_id, day, late)
SELECT k.* FROM unnest(%(ids)s::integer[], %(days)s::timestamptz[], %(counts)s::bigint[]) AS k
ON CONFLICT (series_id, day) DO UPDATE SET late = quality.late + excluded.late;

-- name: count_duplicate
INSERT INTO quality (series_id, day, duplicate)
SELECT k.* FROM unnest(%(ids)s::integer[], %(days)s::timestamptz[], %(counts)s::bigint[]) AS k
ON CONFLICT (series_id, day) DO UPDATE SET duplicate = quality.duplicate + excluded.duplicate;

-- name: flush_later
-- What a crash takes is pending again, in one piece, and is assessed again.
SET LOCAL synchronous_commit = off;

-- name: pending
SELECT p.series_id, p.from_time, p.to_time
FROM pending p JOIN series s ON s.id = p.series_id
WHERE s.source = %(source)s ORDER BY p.series_id;

-- name: take_pending
DELETE FROM pending WHERE series_id = ANY (%(ids)s) RETURNING series_id, from_time, to_time;

-- name: put_days
INSERT INTO quality (series_id, day, due, observed, good, unevaluated, suspect, failed, missing,
                     inconsistent, score)
SELECT k.*
FROM unnest(%(series_id)s::integer[], %(day)s::timestamptz[], %(due)s::bigint[], %(observed)s::bigint[], %(good)s::bigint[],
            %(unevaluated)s::bigint[], %(suspect)s::bigint[], %(failed)s::bigint[], %(missing)s::bigint[],
            %(inconsistent)s::bigint[], %(score)s::double precision[]) AS k
ON CONFLICT (series_id, day) DO UPDATE
SET due = excluded.due, observed = excluded.observed, good = excluded.good,
    unevaluated = excluded.unevaluated, suspect = excluded.suspect, failed = excluded.failed,
    missing = excluded.missing, inconsistent = excluded.inconsistent, score = excluded.score;

-- name: drop_cadences
DELETE FROM cadence WHERE series_id = ANY (%(ids)s);

-- name: add_cadences
INSERT INTO cadence (series_id, from_time, cadence_s)
SELECT k.*
FROM unnest(%(series_id)s::integer[], %(from_time)s::timestamptz[], %(cadence_s)s::double precision[]) AS k;

-- name: drop_anomalies
DELETE FROM anomaly AS a
USING unnest(%(ids)s::integer[], %(detectors)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    AS k (id, detector, start, "end")
WHERE a.series_id = k.id AND a.detector = k.detector AND a.time > k.start AND a.time <= k."end";

-- name: put_anomalies
INSERT INTO anomaly (series_id, time, detector, version, score, explanation)
SELECT k.id, k.time, k.detector, k.version, k.score, k.explanation::json
FROM unnest(%(series_id)s::integer[], %(time)s::timestamptz[], %(detector)s::text[], %(version)s::text[],
            %(score)s::double precision[], %(explanation)s::text[])
    AS k(id, time, detector, version, score, explanation)
ON CONFLICT (series_id, time, detector) DO UPDATE
SET version = excluded.version, score = excluded.score, explanation = excluded.explanation;

-- name: put_drifts
INSERT INTO drift (series_id, time, against, reference, current, ks, psi, shift, scale, drifting)
SELECT k.*
FROM unnest(%(series_id)s::integer[], %(time)s::timestamptz[], %(against)s::text[], %(reference)s::bigint[], %(current)s::bigint[],
            %(ks)s::double precision[], %(psi)s::double precision[], %(shift)s::double precision[],
            %(scale)s::double precision[], %(drifting)s::boolean[]) AS k
ON CONFLICT (series_id, time, against) DO UPDATE
SET reference = excluded.reference, current = excluded.current, ks = excluded.ks, psi = excluded.psi,
    shift = excluded.shift, scale = excluded.scale, drifting = excluded.drifting;

-- name: put_standings
INSERT INTO standing (series_id, detector, alerting, latest, since, seen, detail)
SELECT k.*
FROM unnest(%(series_id)s::integer[], %(detector)s::text[], %(alerting)s::boolean[], %(latest)s::bigint[],
            %(since)s::timestamptz[], %(seen)s::timestamptz[], %(detail)s::text[]) AS k
ON CONFLICT (series_id, detector) DO UPDATE
SET alerting = excluded.alerting, latest = excluded.latest, since = excluded.since, seen = excluded.seen,
    detail = excluded.detail;

-- name: put_model
INSERT INTO model (source, station, detector, version, fitted_from, fitted_to, sensors, data)
VALUES (%(source)s, %(station)s, %(detector)s, %(version)s, %(fitted_from)s, %(fitted_to)s,
        %(sensors)s::integer[], %(data)s)
ON CONFLICT (source, station, detector) DO UPDATE
SET version = excluded.version, fitted_from = excluded.fitted_from, fitted_to = excluded.fitted_to,
    sensors = excluded.sensors, data = excluded.data;

-- name: quality
SELECT q.series_id, q.day, q.due, q.observed, q.good, q.unevaluated, q.suspect, q.failed, q.missing,
       q.late, q.duplicate, q.inconsistent, q.score
FROM quality q JOIN series s ON s.id = q.series_id
WHERE (%(source)s::text IS NULL OR s.source = %(source)s) AND q.day >= %(since)s AND q.day < %(until)s
  AND (%(ids)s::integer[] IS NULL OR q.series_id = ANY (%(ids)s::integer[]))
  AND (q.series_id, q.day) > (%(id)s, %(day)s)
ORDER BY q.series_id, q.day LIMIT %(limit)s;

-- name: cadences
SELECT c.series_id, c.from_time, c.cadence_s
FROM cadence c JOIN series s ON s.id = c.series_id
WHERE %(source)s::text IS NULL OR s.source = %(source)s
ORDER BY c.series_id, c.from_time;

-- name: anomalies
SELECT a.series_id, a.time, a.detector, a.version, a.score, a.explanation::text
FROM anomaly a JOIN series s ON s.id = a.series_id
WHERE (%(source)s::text IS NULL OR s.source = %(source)s) AND a.time > %(since)s AND a.time <= %(until)s
  AND a.time >= %(time)s AND (a.time, a.series_id, a.detector COLLATE "C") > (%(time)s, %(id)s, %(detector)s)
ORDER BY a.time, a.series_id, a.detector COLLATE "C" LIMIT %(limit)s;

-- name: drifts
SELECT d.series_id, d.time, d.against, d.reference, d.current, d.ks, d.psi, d.shift, d.scale, d.drifting
FROM drift d JOIN series s ON s.id = d.series_id
WHERE (%(source)s::text IS NULL OR s.source = %(source)s) AND d.time > %(since)s
ORDER BY d.series_id, d.time, d.against COLLATE "C";

-- name: standings
SELECT t.series_id, t.detector, t.alerting, t.latest, t.since, t.seen, t.detail
FROM standing t JOIN series s ON s.id = t.series_id
WHERE %(source)s::text IS NULL OR s.source = %(source)s
ORDER BY t.series_id, t.detector COLLATE "C";

-- name: models
SELECT station, detector, version, fitted_from, fitted_to, sensors, data
FROM model WHERE source = %(source)s
ORDER BY station COLLATE "C", detector COLLATE "C";
