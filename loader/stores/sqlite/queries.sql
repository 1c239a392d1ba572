-- What the store runs, by name. `?` are parameters; lists travel as one JSON array; {braces} are filled
-- once, at import, with the names of the count columns.

-- name: find_batch
SELECT {counts} FROM batch WHERE run_id = ? AND seq = ?;

-- name: add_batch
INSERT INTO batch (run_id, seq, read_at, committed_at, {counts}) VALUES (?, ?, ?, ?, {marks});

-- name: sum_batches
SELECT {sums} FROM batch WHERE run_id = ?;

-- name: put_counts
UPDATE run SET {counts} WHERE id = ?;

-- name: find_series
SELECT id FROM series WHERE source = ? AND sensor = ? AND parameter = ? AND unit = ?;

-- name: add_series
INSERT INTO series (source, sensor, parameter, unit, partition, station, name, timezone, cadence_s, replaces)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: describe_series
INSERT INTO series (source, sensor, parameter, unit, partition, station, name, timezone, cadence_s, replaces)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, sensor, parameter, unit) DO UPDATE SET
    partition = excluded.partition, station = excluded.station, name = excluded.name,
    timezone = excluded.timezone, cadence_s = excluded.cadence_s, replaces = excluded.replaces;

-- name: list_partition
INSERT INTO partition (source, partition, station, discovered_at, listed_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, partition) DO UPDATE SET station = excluded.station, listed_at = excluded.listed_at;

-- name: add_partition
INSERT INTO partition (source, partition, station, discovered_at, listed_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, partition) DO NOTHING;

-- name: partition_series
SELECT id FROM series WHERE source = ? AND partition = ?;

-- name: stored_values
SELECT time, value FROM reading WHERE series_id = ? AND time >= ? AND time <= ? ORDER BY time;

-- name: count_stored
SELECT count(*) FROM reading WHERE series_id = ? AND time > ? AND time <= ?;

-- name: revise_reading
UPDATE reading SET value = ?, flag = ?, tests = ?, run_id = ? WHERE series_id = ? AND time = ?;

-- name: add_revision
INSERT INTO revision (series_id, time, old_value, new_value, run_id) VALUES (?, ?, ?, ?, ?);

-- name: stretch_series
UPDATE series
SET first_time = min(coalesce(first_time, 9223372036854775807), ?),
    last_time = max(coalesce(last_time, -9223372036854775808), ?)
WHERE id = ?;

-- name: find_lateness
SELECT histogram FROM lateness WHERE source = ? AND series_id = ?;

-- name: put_lateness
INSERT INTO lateness (source, series_id, histogram) VALUES (?, ?, ?)
ON CONFLICT (source, series_id) DO UPDATE SET histogram = excluded.histogram;

-- name: place_before
SELECT from_time, latitude, longitude FROM place
WHERE series_id = ? AND from_time <= ? ORDER BY from_time DESC LIMIT 1;

-- name: place_after
SELECT from_time, latitude, longitude FROM place
WHERE series_id = ? AND from_time > ? ORDER BY from_time LIMIT 1;

-- name: put_place
INSERT INTO place (series_id, from_time, latitude, longitude) VALUES (?, ?, ?, ?)
ON CONFLICT (series_id, from_time) DO UPDATE SET latitude = excluded.latitude, longitude = excluded.longitude;

-- name: drop_place
DELETE FROM place WHERE series_id = ? AND from_time = ?;

-- name: put_quarantine
INSERT INTO quarantine (source, partition, digest, rule, reason, payload, time, first_run, last_seen)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, partition, digest) DO UPDATE SET
    rule = excluded.rule, reason = excluded.reason, time = excluded.time,
    last_seen = max(last_seen, excluded.last_seen), count = count + 1, replayed_by = NULL;

-- name: mark_replayed
UPDATE quarantine SET replayed_by = ? WHERE source = ? AND digest = ?;

-- name: drop_quarantined
DELETE FROM quarantine WHERE source = ? AND digest = ?;

-- name: coverage_of
SELECT from_time, to_time FROM coverage WHERE source = ? AND partition = ? ORDER BY from_time;

-- name: drop_coverage
DELETE FROM coverage WHERE source = ? AND partition = ? AND from_time = ?;

-- name: add_coverage
INSERT INTO coverage (source, partition, from_time, to_time) VALUES (?, ?, ?, ?);

-- name: holes_of
SELECT from_time, to_time, cause, tries, next_try, isolated FROM hole
WHERE source = ? AND partition = ? ORDER BY from_time;

-- name: drop_holes
DELETE FROM hole WHERE source = ? AND partition = ?;

-- name: add_hole
INSERT INTO hole (source, partition, from_time, to_time, cause, tries, next_try, isolated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: raise_watermark
UPDATE partition SET watermark = max(coalesce(watermark, -9223372036854775808), ?)
WHERE source = ? AND partition = ?;

-- name: set_watermark
UPDATE partition SET watermark = ? WHERE source = ? AND partition = ?;

-- name: set_swept
UPDATE partition SET swept_at = ? WHERE source = ? AND partition = ?;

-- name: task_succeeded
UPDATE partition SET failures = 0, last_error = NULL WHERE source = ? AND partition = ?;

-- name: task_failed
UPDATE partition SET failures = failures + 1, last_error = ? WHERE source = ? AND partition = ?;

-- name: begin_run
INSERT INTO run (source, "trigger", started) VALUES (?, ?, ?);

-- name: skipped_run
INSERT INTO run (source, "trigger", started, finished, outcome, error) VALUES (?, ?, ?, ?, ?, ?);

-- name: unfinished_runs
SELECT id FROM run WHERE source = ? AND finished IS NULL;

-- name: last_commit
SELECT max(committed_at) FROM batch WHERE run_id = ?;

-- name: end_run
UPDATE run
SET finished = max(started, ?), outcome = ?, partitions_ok = ?, partitions_failed = ?,
    slowest_request_s = ?, quality = ?, error = ?
WHERE id = ? AND source = ?;

-- name: partition_names
SELECT partition FROM partition WHERE source = ? ORDER BY partition;

-- name: partition_rows
SELECT partition, station, discovered_at, listed_at, watermark, swept_at, expired_to, failures, last_error
FROM partition WHERE source = ? ORDER BY partition;

-- name: source_series
SELECT partition, sensor, parameter, unit, station, partition, name, timezone, cadence_s, replaces
FROM series WHERE source = ? ORDER BY id;

-- name: source_coverage
SELECT partition, from_time, to_time FROM coverage WHERE source = ? ORDER BY partition, from_time;

-- name: source_holes
SELECT partition, from_time, to_time, cause, tries, next_try, isolated FROM hole
WHERE source = ? ORDER BY partition, from_time;

-- name: source_lateness
SELECT s.partition, l.histogram FROM lateness AS l JOIN series AS s ON s.id = l.series_id WHERE l.source = ?;

-- name: sources
SELECT source FROM partition UNION SELECT source FROM run ORDER BY source;

-- name: runs
SELECT id, source, "trigger", started, finished, outcome, partitions_ok, partitions_failed,
    slowest_request_s, quality, error, {counts}
FROM run WHERE coalesce(source = ?, TRUE) ORDER BY id DESC LIMIT ?;

-- name: all_series
SELECT s.id, s.source, s.first_time, s.last_time, p.latitude, p.longitude,
    s.sensor, s.parameter, s.unit, s.station, s.partition, s.name, s.timezone, s.cadence_s, s.replaces
FROM series AS s
LEFT JOIN place AS p
    ON p.series_id = s.id AND p.from_time = (SELECT max(q.from_time) FROM place AS q WHERE q.series_id = s.id)
WHERE coalesce(s.source = ?, TRUE)
ORDER BY s.id;

-- name: scan
SELECT time, value, flag, tests FROM reading
WHERE series_id = ? AND time > ? AND time <= ? ORDER BY time LIMIT ?;

-- name: thinned
-- From the last usable reading on, each step goes to the last one before its cell begins. The cross
-- join keeps the order in which the two are gone through.
WITH RECURSIVE step (time) AS (
    VALUES (:end + :cell)
    UNION ALL
    SELECT (
        SELECT r.time FROM reading AS r
        WHERE r.series_id = :id AND r.time > :start
            AND r.time <= min(:end, step.time - 1 - ((step.time - 1) % :cell + :cell) % :cell)
            AND r.flag IN (1, 2) AND r.value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308
        ORDER BY r.time DESC LIMIT 1)
    FROM step WHERE step.time IS NOT NULL
)
SELECT r.time, r.value, r.flag, r.tests
FROM step CROSS JOIN reading AS r WHERE r.series_id = :id AND r.time = step.time AND step.time <= :end
ORDER BY step.time;

-- name: places
SELECT series_id, from_time, latitude, longitude FROM place
WHERE series_id IN (SELECT value FROM json_each(?)) ORDER BY series_id, from_time;

-- name: quarantined
SELECT source, partition, rule, digest, reason, payload, time, first_run, last_seen, count, replayed_by
FROM quarantine WHERE coalesce(source = ?, TRUE) ORDER BY last_seen DESC, rowid DESC LIMIT ?;

-- name: forget_coverage
DELETE FROM coverage WHERE (source, partition, from_time) IN (
    SELECT source, partition, from_time FROM coverage WHERE source = ? LIMIT ?);

-- name: forget_hole
DELETE FROM hole WHERE (source, partition, from_time) IN (
    SELECT source, partition, from_time FROM hole WHERE source = ? LIMIT ?);

-- name: forget_partition
DELETE FROM partition WHERE (source, partition) IN (
    SELECT source, partition FROM partition WHERE source = ? LIMIT ?);

-- name: forget_reading
DELETE FROM reading WHERE (series_id, time) IN (
    SELECT series_id, time FROM reading WHERE series_id = ? ORDER BY time LIMIT ?);

-- name: forget_revision
DELETE FROM revision WHERE rowid IN (SELECT rowid FROM revision WHERE series_id = ? LIMIT ?);

-- name: forget_place
DELETE FROM place WHERE (series_id, from_time) IN (
    SELECT series_id, from_time FROM place WHERE series_id = ? LIMIT ?);

-- name: forget_lateness
DELETE FROM lateness WHERE (source, series_id) IN (
    SELECT source, series_id FROM lateness WHERE source = ? LIMIT ?);

-- name: forget_quarantine
DELETE FROM quarantine WHERE rowid IN (SELECT rowid FROM quarantine WHERE source = ? LIMIT ?);

-- name: forget_series
DELETE FROM series WHERE id IN (SELECT id FROM series WHERE source = ? LIMIT ?);

-- name: forget_batch
DELETE FROM batch WHERE (run_id, seq) IN (
    SELECT b.run_id, b.seq FROM run AS r JOIN batch AS b ON b.run_id = r.id WHERE r.source = ? LIMIT ?);

-- name: forget_run
DELETE FROM run WHERE id IN (SELECT id FROM run WHERE source = ? LIMIT ?);

-- name: forget_limit_event
DELETE FROM limit_event WHERE (series_id, from_time, level, threshold) IN (
    SELECT series_id, from_time, level, threshold FROM limit_event WHERE series_id = ? LIMIT ?);

-- name: forget_alert
DELETE FROM alert WHERE (source, rule, subject) IN (
    SELECT source, rule, subject FROM alert WHERE source = ? LIMIT ?);

-- name: forget_mute
DELETE FROM mute WHERE source IN (SELECT source FROM mute WHERE source = ? LIMIT ?);

-- name: forget_request
-- The request to forget the source is itself at work.
DELETE FROM request WHERE id IN (
    SELECT id FROM request WHERE source = ? AND state NOT IN ('queued', 'running') LIMIT ?);

-- name: source_series_ids
SELECT id FROM series WHERE source = ? ORDER BY id;

-- name: expired_to
SELECT partition, expired_to FROM partition WHERE source = ? AND expired_to IS NOT NULL;

-- name: raise_expired
UPDATE partition SET expired_to = ? WHERE source = ? AND coalesce(expired_to < ?, TRUE);

-- name: expire_coverage
DELETE FROM coverage WHERE source = ? AND to_time <= ?;

-- name: cut_coverage
UPDATE coverage SET from_time = ? WHERE source = ? AND from_time < ?;

-- name: expire_holes
DELETE FROM hole WHERE source = ? AND to_time <= ?;

-- name: cut_holes
UPDATE hole SET from_time = ? WHERE source = ? AND from_time < ?;

-- name: series_begun
SELECT id FROM series WHERE source = ? AND first_time <= ? ORDER BY id;

-- name: first_reading
UPDATE series SET first_time = (SELECT min(time) FROM reading WHERE series_id = series.id) WHERE id = ?;

-- name: prune_reading
DELETE FROM reading WHERE (series_id, time) IN (
    SELECT series_id, time FROM reading WHERE series_id = ? AND time <= ? ORDER BY time LIMIT ?);

-- name: prune_revision
DELETE FROM revision WHERE rowid IN (
    SELECT v.rowid FROM series AS s JOIN revision AS v ON v.series_id = s.id
    WHERE s.source = ? AND v.time <= ? LIMIT ?);

-- name: prune_batch
DELETE FROM batch WHERE (run_id, seq) IN (
    SELECT b.run_id, b.seq FROM run AS r JOIN batch AS b ON b.run_id = r.id
    WHERE r.source = ? AND r.finished IS NOT NULL AND (r.finished <= ? OR b.committed_at <= ?) LIMIT ?);

-- name: prune_run
DELETE FROM run WHERE id IN (SELECT id FROM run WHERE source = ? AND finished <= ? LIMIT ?);

-- name: prune_quarantine
DELETE FROM quarantine WHERE rowid IN (
    SELECT rowid FROM quarantine WHERE source = ? AND last_seen <= ? LIMIT ?);

-- name: prunable_reading
SELECT count(*) FROM series AS s JOIN reading AS r ON r.series_id = s.id WHERE s.source = ? AND r.time <= ?;

-- name: prunable_revision
SELECT count(*) FROM series AS s JOIN revision AS v ON v.series_id = s.id WHERE s.source = ? AND v.time <= ?;

-- name: prunable_batch
SELECT count(*) FROM run AS r JOIN batch AS b ON b.run_id = r.id
WHERE r.source = ? AND r.finished IS NOT NULL AND (r.finished <= ? OR b.committed_at <= ?);

-- name: prunable_run
SELECT count(*) FROM run WHERE source = ? AND finished <= ?;

-- name: prunable_quarantine
SELECT count(*) FROM quarantine WHERE source = ? AND last_seen <= ?;

-- name: drop_limit_events
DELETE FROM limit_event WHERE series_id = ? AND from_time > ? AND from_time <= ?;

-- name: put_limit_event
INSERT OR REPLACE INTO limit_event (series_id, level, threshold, from_time, to_time, peak, readings)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: limit_events
SELECT e.series_id, e.level, e.threshold, e.from_time, e.to_time, e.peak, e.readings
FROM limit_event AS e JOIN series AS s ON s.id = e.series_id
WHERE coalesce(s.source = ?, TRUE) AND coalesce(e.to_time > ?, TRUE)
ORDER BY e.series_id, e.from_time, e.level, e.threshold;

-- name: find_budget
SELECT window_s, window_start, used, blocked_until FROM budget WHERE key = ?;

-- name: put_budget
INSERT INTO budget (key, window_s, window_start, used) VALUES (?, ?, ?, ?)
ON CONFLICT (key, window_s) DO UPDATE SET window_start = excluded.window_start, used = excluded.used;

-- name: give_back
UPDATE budget SET used = max(0, used - ?)
WHERE key = ? AND ? BETWEEN window_start AND window_start + window_s * 1000000 - 1;

-- name: block
INSERT INTO budget (key, window_s, window_start, used, blocked_until) VALUES (?, 0, 0, 0, ?)
ON CONFLICT (key, window_s) DO UPDATE SET blocked_until = max(coalesce(blocked_until, 0), excluded.blocked_until);

-- name: queue_request
INSERT INTO request (source, kind, arguments, asked_by, queued_at) VALUES (?, ?, ?, ?, ?);

-- name: find_request
SELECT id, source, kind, arguments, asked_by, queued_at, state, started, finished, progress, result, error,
    cancelling
FROM request WHERE id = ?;

-- name: newest_requests
SELECT id, source, kind, arguments, asked_by, queued_at, state, started, finished, progress, result, error,
    cancelling
FROM request WHERE coalesce(source = ?, TRUE) ORDER BY id DESC LIMIT ?;

-- name: open_requests
SELECT id, source, kind, arguments, asked_by, queued_at, state, started, finished, progress, result, error,
    cancelling
FROM request WHERE state IN ('queued', 'running') AND coalesce(source = ?, TRUE) ORDER BY id LIMIT ?;

-- name: note_request
UPDATE request
SET state = coalesce(:state, state), progress = coalesce(:progress, progress),
    result = coalesce(:result, result), error = coalesce(:error, error),
    started = coalesce(started, CASE WHEN :state = 'running' THEN :at END),
    finished = CASE WHEN :state IN ('done', 'failed', 'cancelled') THEN :at END
WHERE id = :id AND state IN ('queued', 'running');

-- name: cancel_queued
UPDATE request SET state = 'cancelled', finished = ? WHERE id = ? AND state = 'queued';

-- name: cancel_running
UPDATE request SET cancelling = 1 WHERE id = ? AND state = 'running';

-- name: alerts
SELECT source, rule, subject, phase, severity, count, since, updated, alerted_at, sent, last_sent, notice,
    cause, value, detail
FROM alert ORDER BY source, rule, subject;

-- name: put_alert
INSERT OR REPLACE INTO alert (source, rule, subject, phase, severity, count, since, updated, alerted_at, sent,
    last_sent, notice, cause, value, detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: drop_alert
DELETE FROM alert WHERE source = ? AND rule = ? AND subject = ?;

-- name: add_dispatch
INSERT INTO outbox (notice, channel, message, queued_at, next_try, tries, delivered_at, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (notice, channel) DO NOTHING;

-- name: withdraw
-- The row stays: whoever is sending it at this moment still finds where to note that it arrived.
UPDATE outbox SET next_try = NULL, error = ? WHERE notice = ? AND next_try IS NOT NULL;

-- name: is_due
SELECT 1 FROM outbox WHERE next_try <= ? LIMIT 1;

-- name: due_dispatches
SELECT rowid, message, channel, queued_at, next_try, tries, delivered_at, error FROM outbox
WHERE next_try <= ? ORDER BY queued_at, rowid LIMIT ?;

-- name: hold_dispatch
UPDATE outbox SET next_try = ? WHERE rowid = ?;

-- name: settle_dispatch
UPDATE outbox SET tries = tries + 1, delivered_at = :delivered_at, next_try = :next_try, error = :error
WHERE notice = :notice AND channel = :channel AND delivered_at IS NULL
    AND (next_try IS NOT NULL OR :delivered_at IS NOT NULL);

-- name: delivered
SELECT DISTINCT notice FROM outbox
WHERE notice IN (SELECT value FROM json_each(?)) AND delivered_at IS NOT NULL;

-- name: newest_dispatches
SELECT message, channel, queued_at, next_try, tries, delivered_at, error FROM outbox
ORDER BY queued_at DESC, rowid DESC LIMIT ?;

-- name: mutes
SELECT source, until, reason, "by", at FROM mute WHERE until > ? ORDER BY source;

-- name: put_mute
INSERT OR REPLACE INTO mute (source, until, reason, "by", at) VALUES (?, ?, ?, ?, ?);

-- name: drop_mute
DELETE FROM mute WHERE source = ?;

-- name: tidy_outbox
DELETE FROM outbox WHERE rowid IN (
    SELECT rowid FROM outbox
    WHERE queued_at < ? AND next_try IS NULL
        AND notice NOT IN (SELECT notice FROM alert WHERE notice IS NOT NULL) LIMIT ?);

-- name: tidy_request
DELETE FROM request WHERE id IN (
    SELECT id FROM request WHERE finished < ? AND state NOT IN ('queued', 'running') LIMIT ?);

-- name: tidy_mute
DELETE FROM mute WHERE source IN (SELECT source FROM mute WHERE until < ? LIMIT ?);

-- name: tidy_limit_event
DELETE FROM limit_event WHERE (series_id, from_time, level, threshold) IN (
    SELECT series_id, from_time, level, threshold FROM limit_event WHERE to_time < ? LIMIT ?);
