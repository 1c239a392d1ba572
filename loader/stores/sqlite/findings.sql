-- What is stored around a batch, and what is found out about it. `?` are parameters.

-- name: count_between
SELECT count(*) FROM (SELECT 1 FROM reading WHERE series_id = ? AND time >= ? AND time <= ? LIMIT ?);

-- name: stored_edges
SELECT
    (SELECT min(time) FROM (
        SELECT time FROM reading WHERE series_id = ? AND time < ? ORDER BY time DESC LIMIT ?)),
    (SELECT max(time) FROM (
        SELECT time FROM reading WHERE series_id = ? AND time > ? ORDER BY time LIMIT ?));

-- name: stored_readings
SELECT ?, time, value, flag, tests FROM reading
WHERE series_id = ?
    AND time >= coalesce((SELECT min(time) FROM (
        SELECT time FROM reading WHERE series_id = ? AND time < ? ORDER BY time DESC LIMIT ?)), ?)
    AND time <= coalesce((SELECT max(time) FROM (
        SELECT time FROM reading WHERE series_id = ? AND time > ? ORDER BY time LIMIT ?)), ?)
ORDER BY time;

-- name: put_flags
UPDATE reading SET flag = ?, tests = ? WHERE series_id = ? AND time = ?;

-- name: put_other_flags
UPDATE reading SET flag = ?, tests = ?
WHERE series_id = ? AND time = ? AND (flag <> ? OR tests <> ?);

-- name: reading_before
SELECT max(time) FROM reading WHERE series_id = ? AND time < ?;

-- name: source_of_series
SELECT source FROM series WHERE id = ?;

-- name: add_pending
INSERT INTO pending (series_id, from_time, to_time) VALUES (?, ?, ?)
ON CONFLICT (series_id) DO UPDATE SET
    from_time = min(from_time, excluded.from_time), to_time = max(to_time, excluded.to_time);

-- name: pending_of
SELECT from_time, to_time FROM pending WHERE series_id = ?;

-- name: drop_pending
DELETE FROM pending WHERE series_id = ?;

-- name: count_late
INSERT INTO quality (series_id, day, late) VALUES (?, ?, ?)
ON CONFLICT (series_id, day) DO UPDATE SET late = late + excluded.late;

-- name: count_duplicate
INSERT INTO quality (series_id, day, duplicate) VALUES (?, ?, ?)
ON CONFLICT (series_id, day) DO UPDATE SET duplicate = duplicate + excluded.duplicate;

-- name: put_day
INSERT INTO quality (series_id, day, due, observed, good, unevaluated, suspect, failed, missing,
    inconsistent, score)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (series_id, day) DO UPDATE SET
    due = excluded.due, observed = excluded.observed, good = excluded.good,
    unevaluated = excluded.unevaluated, suspect = excluded.suspect, failed = excluded.failed,
    missing = excluded.missing, inconsistent = excluded.inconsistent, score = excluded.score;

-- name: drop_cadences
DELETE FROM cadence WHERE series_id = ?;

-- name: put_cadence
INSERT OR REPLACE INTO cadence (series_id, from_time, cadence_s) VALUES (?, ?, ?);

-- name: drop_anomalies
DELETE FROM anomaly WHERE series_id = ? AND detector = ? AND time > ? AND time <= ?;

-- name: put_anomaly
INSERT OR REPLACE INTO anomaly (series_id, time, detector, version, score, explanation)
VALUES (?, ?, ?, ?, ?, ?);

-- name: put_drift
INSERT OR REPLACE INTO drift (series_id, time, against, reference, current, ks, psi, shift, scale, drifting)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_standing
INSERT OR REPLACE INTO standing (series_id, detector, alerting, latest, since, seen, detail)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: put_model
INSERT OR REPLACE INTO model (source, station, detector, version, fitted_from, fitted_to, sensors, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: pending
SELECT p.series_id, p.from_time, p.to_time FROM pending AS p JOIN series AS s ON s.id = p.series_id
WHERE s.source = ? ORDER BY p.series_id;

-- name: series_ids
SELECT id FROM series WHERE coalesce(source = ?, TRUE) ORDER BY id;

-- name: quality_days
SELECT series_id, day, due, observed, good, unevaluated, suspect, failed, missing, late, duplicate,
    inconsistent, score
FROM quality WHERE series_id = ? AND day >= ? AND day < ? ORDER BY day;

-- name: cadences
SELECT c.series_id, c.from_time, c.cadence_s FROM cadence AS c JOIN series AS s ON s.id = c.series_id
WHERE coalesce(s.source = ?, TRUE) ORDER BY c.series_id, c.from_time;

-- name: anomalies
SELECT a.series_id, a.time, a.detector, a.version, a.score, a.explanation
FROM anomaly AS a JOIN series AS s ON s.id = a.series_id
WHERE coalesce(s.source = ?, TRUE) AND (a.time, a.series_id, a.detector) > (?, ?, ?) AND a.time <= ?
ORDER BY a.time, a.series_id, a.detector LIMIT ?;

-- name: drifts
SELECT d.series_id, d.time, d.against, d.reference, d.current, d.ks, d.psi, d.shift, d.scale, d.drifting
FROM drift AS d JOIN series AS s ON s.id = d.series_id
WHERE coalesce(s.source = ?, TRUE) AND d.time > ? ORDER BY d.series_id, d.time, d.against;

-- name: standings
SELECT t.series_id, t.detector, t.alerting, t.latest, t.since, t.seen, t.detail
FROM standing AS t JOIN series AS s ON s.id = t.series_id
WHERE coalesce(s.source = ?, TRUE) ORDER BY t.series_id, t.detector;

-- name: models
SELECT station, detector, version, fitted_from, fitted_to, sensors, data FROM model
WHERE source = ? ORDER BY station, detector;

-- name: forget_pending
DELETE FROM pending WHERE series_id IN (SELECT series_id FROM pending WHERE series_id = ? LIMIT ?);

-- name: forget_quality
DELETE FROM quality WHERE (series_id, day) IN (
    SELECT series_id, day FROM quality WHERE series_id = ? LIMIT ?);

-- name: forget_cadence
DELETE FROM cadence WHERE (series_id, from_time) IN (
    SELECT series_id, from_time FROM cadence WHERE series_id = ? LIMIT ?);

-- name: forget_anomaly
DELETE FROM anomaly WHERE (series_id, time, detector) IN (
    SELECT series_id, time, detector FROM anomaly WHERE series_id = ? LIMIT ?);

-- name: forget_drift
DELETE FROM drift WHERE (series_id, time, against) IN (
    SELECT series_id, time, against FROM drift WHERE series_id = ? LIMIT ?);

-- name: forget_standing
DELETE FROM standing WHERE (series_id, detector) IN (
    SELECT series_id, detector FROM standing WHERE series_id = ? LIMIT ?);

-- name: forget_model
DELETE FROM model WHERE rowid IN (SELECT rowid FROM model WHERE source = ? LIMIT ?);

-- name: expire_pending
DELETE FROM pending
WHERE to_time <= ? AND series_id IN (SELECT id FROM series WHERE source = ?);

-- name: cut_pending
UPDATE pending SET from_time = ?
WHERE from_time < ? AND series_id IN (SELECT id FROM series WHERE source = ?);

-- name: prune_anomaly
DELETE FROM anomaly WHERE (series_id, time, detector) IN (
    SELECT a.series_id, a.time, a.detector FROM series AS s JOIN anomaly AS a ON a.series_id = s.id
    WHERE s.source = ? AND a.time <= ? LIMIT ?);

-- name: prunable_anomaly
SELECT count(*) FROM series AS s JOIN anomaly AS a ON a.series_id = s.id WHERE s.source = ? AND a.time <= ?;
