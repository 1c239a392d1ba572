-- What the store runs, by name. Lists travel as arrays and are joined as rows with unnest.

-- name: prepare
-- A commit is acknowledged only when it is durable, whatever the server's default.
SELECT set_config('TimeZone', 'UTC', false),
       set_config('lock_timeout', %(lock_ms)s, false),
       set_config('statement_timeout', %(statement_ms)s, false),
       set_config('idle_in_transaction_session_timeout', %(idle_ms)s, false),
       set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                  ELSE current_setting('synchronous_commit') END, false);

-- name: own_backend
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid();

-- name: lock_schema
SELECT pg_advisory_xact_lock(hashtextextended('loader schema ' || current_schema(), 0));

-- name: ensure_version
CREATE TABLE IF NOT EXISTS loader_version (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: find_version_table
-- Not to_regclass: inside a transaction its cache may not yet know what another one has committed.
SELECT EXISTS (
    SELECT FROM pg_class WHERE relname = 'loader_version' AND relnamespace = current_schema()::regnamespace
);

-- name: schema_version
SELECT coalesce(max(number), 0) FROM loader_version;

-- name: add_version
INSERT INTO loader_version (number, name) VALUES (%(number)s, %(name)s);

-- name: foreign_tables
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(names)s::text[])
ORDER BY c.relname;

-- name: close_runs
-- Their last sign of life is their newest batch.
UPDATE run
SET finished = greatest(run.started, b.last), outcome = 'interrupted',
    error = %(died)s,
    fetched = b.fetched, new = b.new, duplicate = b.duplicate, refetched = b.refetched,
    revised = b.revised, late = b.late, missing = b.missing, suspect = b.suspect, failed = b.failed,
    quarantined = b.quarantined, vanished = b.vanished, due = b.due, observed = b.observed,
    inconsistent = b.inconsistent, expired = b.expired, requests = b.requests, errors = b.errors,
    bytes = b.bytes
FROM run r
CROSS JOIN LATERAL (
    SELECT max(committed_at) AS last,
           coalesce(sum(fetched), 0) AS fetched, coalesce(sum(new), 0) AS new,
           coalesce(sum(duplicate), 0) AS duplicate, coalesce(sum(refetched), 0) AS refetched,
           coalesce(sum(revised), 0) AS revised, coalesce(sum(late), 0) AS late,
           coalesce(sum(missing), 0) AS missing, coalesce(sum(suspect), 0) AS suspect,
           coalesce(sum(failed), 0) AS failed, coalesce(sum(quarantined), 0) AS quarantined,
           coalesce(sum(vanished), 0) AS vanished, coalesce(sum(due), 0) AS due,
           coalesce(sum(observed), 0) AS observed, coalesce(sum(inconsistent), 0) AS inconsistent,
           coalesce(sum(expired), 0) AS expired, coalesce(sum(requests), 0) AS requests,
           coalesce(sum(errors), 0) AS errors, coalesce(sum(bytes), 0) AS bytes
    FROM batch WHERE batch.run_id = r.id
) b
WHERE run.id = r.id AND r.source = %(source)s AND r.finished IS NULL;

-- name: begin_run
INSERT INTO run (source, trigger, started) VALUES (%(source)s, %(trigger)s, %(started)s) RETURNING id;

-- name: begun_run
SELECT id FROM run
WHERE source = %(source)s AND trigger = %(trigger)s AND started = %(started)s AND finished IS NULL
ORDER BY id DESC LIMIT 1;

-- name: finish_run
UPDATE run
SET finished = coalesce(%(finished)s, clock_timestamp()), outcome = %(outcome)s, partitions_ok = %(partitions_ok)s,
    partitions_failed = %(partitions_failed)s, slowest_request_s = %(slowest_request_s)s,
    quality = %(quality)s, error = %(error)s,
    fetched = b.fetched, new = b.new, duplicate = b.duplicate, refetched = b.refetched,
    revised = b.revised, late = b.late, missing = b.missing, suspect = b.suspect, failed = b.failed,
    quarantined = b.quarantined, vanished = b.vanished, due = b.due, observed = b.observed,
    inconsistent = b.inconsistent, expired = b.expired, requests = b.requests + %(requests)s,
    errors = b.errors + %(errors)s, bytes = b.bytes + %(bytes)s
FROM (
    SELECT coalesce(sum(fetched), 0) AS fetched, coalesce(sum(new), 0) AS new,
           coalesce(sum(duplicate), 0) AS duplicate, coalesce(sum(refetched), 0) AS refetched,
           coalesce(sum(revised), 0) AS revised, coalesce(sum(late), 0) AS late,
           coalesce(sum(missing), 0) AS missing, coalesce(sum(suspect), 0) AS suspect,
           coalesce(sum(failed), 0) AS failed, coalesce(sum(quarantined), 0) AS quarantined,
           coalesce(sum(vanished), 0) AS vanished, coalesce(sum(due), 0) AS due,
           coalesce(sum(observed), 0) AS observed, coalesce(sum(inconsistent), 0) AS inconsistent,
           coalesce(sum(expired), 0) AS expired, coalesce(sum(requests), 0) AS requests,
           coalesce(sum(errors), 0) AS errors, coalesce(sum(bytes), 0) AS bytes
    FROM batch WHERE batch.run_id = %(run_id)s
) b
WHERE run.id = %(run_id)s AND run.source = %(source)s;

-- name: skipped_run
INSERT INTO run (source, trigger, started, finished, outcome, error)
VALUES (%(source)s, %(trigger)s, %(at)s, %(at)s, %(outcome)s, %(error)s);

-- name: claim_batch
INSERT INTO batch (run_id, seq, read_at, committed_at)
VALUES (%(run_id)s, %(seq)s, %(read_at)s, clock_timestamp())
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: batch_counts
SELECT fetched, new, duplicate, refetched, revised, late, missing, suspect, failed, quarantined,
       vanished, due, observed, inconsistent, expired, requests, errors, bytes
FROM batch WHERE run_id = %(run_id)s AND seq = %(seq)s;

-- name: count_batch
UPDATE batch
SET committed_at = clock_timestamp(), fetched = %(fetched)s, new = %(new)s, duplicate = %(duplicate)s,
    refetched = %(refetched)s, revised = %(revised)s, late = %(late)s, missing = %(missing)s,
    suspect = %(suspect)s, failed = %(failed)s, quarantined = %(quarantined)s, vanished = %(vanished)s,
    due = %(due)s, observed = %(observed)s, inconsistent = %(inconsistent)s,
    expired = %(expired)s, requests = %(requests)s, errors = %(errors)s, bytes = %(bytes)s
WHERE run_id = %(run_id)s AND seq = %(seq)s;

-- name: lock_series
SELECT id, sensor, parameter, unit, partition, first_time, last_time FROM series
WHERE id IN (
    SELECT s.id FROM series s
    JOIN unnest(%(sensors)s::text[], %(parameters)s::text[], %(units)s::text[])
        AS k(sensor, parameter, unit) USING (sensor, parameter, unit)
    WHERE s.source = %(source)s
    UNION
    SELECT s.id FROM series s
    WHERE s.source = %(source)s AND s.partition = ANY (%(partitions)s::text[])
)
ORDER BY id FOR NO KEY UPDATE;

-- name: add_series
INSERT INTO series (source, sensor, parameter, unit, station, partition, name, timezone, cadence_s, replaces)
SELECT %(source)s, k.*
FROM unnest(%(sensor)s::text[], %(parameter)s::text[], %(unit)s::text[], %(station)s::text[],
            %(partition)s::text[], %(name)s::text[], %(timezone)s::text[],
            %(cadence_s)s::double precision[], %(replaces)s::text[]) AS k
ON CONFLICT (source, sensor, parameter, unit) DO NOTHING
RETURNING id, sensor, parameter, unit, partition, first_time, last_time;

-- name: describe_series
INSERT INTO series (source, sensor, parameter, unit, station, partition, name, timezone, cadence_s, replaces)
SELECT %(source)s, k.*
FROM unnest(%(sensor)s::text[], %(parameter)s::text[], %(unit)s::text[], %(station)s::text[],
            %(partition)s::text[], %(name)s::text[], %(timezone)s::text[],
            %(cadence_s)s::double precision[], %(replaces)s::text[]) AS k
ON CONFLICT (source, sensor, parameter, unit) DO UPDATE
SET station = excluded.station, partition = excluded.partition, name = excluded.name,
    timezone = excluded.timezone, cadence_s = excluded.cadence_s, replaces = excluded.replaces
WHERE (series.station, series.partition, series.name, series.timezone, series.cadence_s, series.replaces)
    IS DISTINCT FROM (excluded.station, excluded.partition, excluded.name, excluded.timezone,
                      excluded.cadence_s, excluded.replaces);

-- name: stretch_series
UPDATE series s
SET first_time = least(s.first_time, k.first_time), last_time = greatest(s.last_time, k.last_time)
FROM unnest(%(ids)s::integer[], %(first)s::timestamptz[], %(last)s::timestamptz[])
    AS k(id, first_time, last_time)
WHERE s.id = k.id;

-- name: list_partitions
INSERT INTO partition (source, partition, station, discovered_at, listed_at)
SELECT %(source)s, k.partition, k.station, %(now)s, %(now)s
FROM unnest(%(partitions)s::text[], %(stations)s::text[]) AS k(partition, station)
ON CONFLICT (source, partition) DO UPDATE SET station = excluded.station, listed_at = excluded.listed_at;

-- name: add_partitions
INSERT INTO partition (source, partition, station, discovered_at, listed_at)
SELECT %(source)s, k.partition, k.station, %(now)s, %(now)s
FROM unnest(%(partitions)s::text[], %(stations)s::text[]) AS k(partition, station)
ON CONFLICT (source, partition) DO NOTHING;

-- name: advance_partitions
UPDATE partition p
SET watermark = greatest(p.watermark, k.watermark),
    swept_at = coalesce(k.swept_at, p.swept_at),
    failures = CASE WHEN NOT k.ended THEN p.failures WHEN k.error IS NULL THEN 0 ELSE p.failures + 1 END,
    last_error = CASE WHEN k.ended THEN k.error ELSE p.last_error END
FROM unnest(%(partitions)s::text[], %(watermarks)s::timestamptz[], %(swept)s::timestamptz[],
            %(ended)s::boolean[], %(errors)s::text[]) AS k(partition, watermark, swept_at, ended, error)
WHERE p.source = %(source)s AND p.partition = k.partition;

-- name: ledger_of
SELECT p.partition, EXISTS (SELECT FROM hole h WHERE h.source = p.source AND h.partition = p.partition),
       p.expired_to, c.from_time, c.to_time
FROM partition p
LEFT JOIN coverage c ON c.source = p.source AND c.partition = p.partition
WHERE p.source = %(source)s AND p.partition = ANY (%(partitions)s::text[])
ORDER BY p.partition, c.from_time;

-- name: drop_coverage
DELETE FROM coverage c
USING unnest(%(partitions)s::text[], %(starts)s::timestamptz[]) AS k(partition, start)
WHERE c.source = %(source)s AND c.partition = k.partition AND c.from_time = k.start;

-- name: add_coverage
INSERT INTO coverage (source, partition, from_time, to_time)
SELECT %(source)s, k.*
FROM unnest(%(partitions)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS k;

-- name: holes_of
SELECT partition, from_time, to_time, cause, tries, next_try, isolated FROM hole
WHERE source = %(source)s AND partition = ANY (%(partitions)s::text[])
ORDER BY partition, from_time;

-- name: drop_holes
DELETE FROM hole h
USING unnest(%(partitions)s::text[], %(starts)s::timestamptz[]) AS k(partition, start)
WHERE h.source = %(source)s AND h.partition = k.partition AND h.from_time = k.start;

-- name: add_holes
INSERT INTO hole (source, partition, from_time, to_time, cause, tries, next_try, isolated)
SELECT %(source)s, k.*
FROM unnest(%(partitions)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(causes)s::text[],
            %(tries)s::integer[], %(next)s::timestamptz[], %(isolated)s::boolean[]) AS k;

-- name: copy_stored
-- OFFSET 0 keeps the planner from turning a few index look-ups into a scan of a whole month.
COPY (
    SELECT w.index, r.time, r.value
    FROM unnest(%(indices)s::integer[], %(ids)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS w(index, id, start, stop)
    CROSS JOIN LATERAL (
        SELECT time, coalesce(value, 'NaN') AS value FROM reading
        WHERE series_id = w.id AND time > w.start AND time <= w.stop
          AND time > %(low)s AND time <= %(high)s
        OFFSET 0
    ) r
) TO STDOUT (FORMAT binary);

-- name: count_stored
SELECT coalesce(sum(r.rows), 0)::bigint
FROM unnest(%(ids)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS w(id, start, stop)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM reading
    WHERE series_id = w.id AND time > w.start AND time <= w.stop
      AND time > %(low)s AND time <= %(high)s
) r;

-- name: copy_readings
COPY reading (series_id, time, value, flag, tests, run_id) FROM STDIN (FORMAT binary);

-- name: make_revised
-- Nothing is known of the table's content to the planner: left to itself it scans whole months.
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
CREATE TEMPORARY TABLE IF NOT EXISTS loader_revised (
    series_id integer, time timestamptz, old_value double precision, value double precision,
    flag smallint, tests integer, run_id integer
) ON COMMIT DELETE ROWS;
TRUNCATE loader_revised;

-- name: copy_revised
COPY loader_revised (series_id, time, old_value, value, flag, tests, run_id) FROM STDIN (FORMAT binary);

-- name: revise_readings
UPDATE reading r
SET value = v.value, flag = v.flag, tests = v.tests, run_id = v.run_id
FROM loader_revised v
WHERE r.series_id = v.series_id AND r.time = v.time AND r.time >= %(low)s AND r.time <= %(high)s
  AND r.value IS NOT DISTINCT FROM v.old_value;

-- name: add_revisions
INSERT INTO revision (series_id, time, old_value, new_value, run_id)
SELECT series_id, time, old_value, value, run_id FROM loader_revised;

-- name: lateness_of
SELECT series_id, histogram FROM lateness WHERE series_id = ANY (%(ids)s::integer[]);

-- name: put_lateness
INSERT INTO lateness (source, series_id, histogram) VALUES (%(source)s, %(id)s, %(histogram)s::bigint[])
ON CONFLICT (series_id) DO UPDATE SET histogram = excluded.histogram;

-- name: put_quarantine
INSERT INTO quarantine (source, partition, rule, digest, reason, payload, time, first_run, last_seen, count)
VALUES (%(source)s, %(partition)s, %(rule)s, %(digest)s, %(reason)s, %(payload)s, %(time)s, %(run_id)s,
        %(read_at)s, %(count)s)
ON CONFLICT (source, partition, digest) DO UPDATE
SET rule = excluded.rule, reason = excluded.reason, time = excluded.time,
    last_seen = greatest(quarantine.last_seen, excluded.last_seen),
    count = quarantine.count + excluded.count, replayed_by = NULL;

-- name: mark_replayed
UPDATE quarantine SET replayed_by = %(run_id)s
WHERE source = %(source)s AND digest = ANY (%(digests)s::text[]);

-- name: drop_limit_events
-- A number for the series where it is the source's; only then is there something to replace.
WITH known AS (SELECT id FROM series WHERE id = %(id)s AND source = %(source)s), gone AS (
    DELETE FROM limit_event e USING known
    WHERE e.series_id = known.id AND e.from_time > %(start)s AND e.from_time <= %(end)s
)
SELECT id FROM known;

-- name: add_limit_events
INSERT INTO limit_event (series_id, level, threshold, from_time, to_time, peak, readings)
SELECT %(id)s, k.*
FROM unnest(%(levels)s::text[], %(thresholds)s::double precision[], %(starts)s::timestamptz[],
            %(ends)s::timestamptz[], %(peaks)s::double precision[], %(readings)s::bigint[])
    AS k(level, threshold, from_time, to_time, peak, readings)
ON CONFLICT (series_id, from_time, level, threshold) DO UPDATE
SET to_time = excluded.to_time, peak = excluded.peak, readings = excluded.readings;

-- name: drop_quarantined
DELETE FROM quarantine WHERE source = %(source)s AND digest = ANY (%(digests)s::text[]);

-- name: places_of
SELECT series_id, from_time, latitude, longitude FROM place
WHERE series_id = ANY (%(ids)s::integer[]) ORDER BY series_id, from_time;

-- name: drop_place
DELETE FROM place WHERE series_id = %(id)s AND from_time = %(time)s;

-- name: put_place
INSERT INTO place (series_id, from_time, latitude, longitude)
VALUES (%(id)s, %(time)s, %(latitude)s, %(longitude)s)
ON CONFLICT (series_id, from_time) DO UPDATE
SET latitude = excluded.latitude, longitude = excluded.longitude;

-- name: is_partitioned
SELECT relkind = 'p' FROM pg_class WHERE oid = 'reading'::regclass;

-- name: lock_months
SELECT pg_advisory_xact_lock(hashtextextended('loader months ' || current_schema(), 0));

-- name: find_months
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'reading'::regclass;

-- name: reset_partitions
UPDATE partition p SET watermark = %(watermark)s
WHERE p.source = %(source)s AND (%(partition)s::text IS NULL OR p.partition = %(partition)s)
  AND (p.watermark IS DISTINCT FROM %(watermark)s
       OR EXISTS (SELECT FROM coverage c WHERE c.source = p.source AND c.partition = p.partition
                  AND c.to_time > coalesce(%(watermark)s::timestamptz, '-infinity'))
       OR EXISTS (SELECT FROM hole h WHERE h.source = p.source AND h.partition = p.partition
                  AND h.to_time > coalesce(%(watermark)s::timestamptz, '-infinity')));

-- name: reset_coverage
DELETE FROM coverage
WHERE source = %(source)s AND (%(partition)s::text IS NULL OR partition = %(partition)s)
  AND from_time >= coalesce(%(watermark)s::timestamptz, '-infinity');

-- name: cut_coverage
UPDATE coverage SET to_time = %(watermark)s
WHERE source = %(source)s AND (%(partition)s::text IS NULL OR partition = %(partition)s)
  AND to_time > %(watermark)s;

-- name: reset_hole
DELETE FROM hole
WHERE source = %(source)s AND (%(partition)s::text IS NULL OR partition = %(partition)s)
  AND from_time >= coalesce(%(watermark)s::timestamptz, '-infinity');

-- name: cut_hole
UPDATE hole SET to_time = %(watermark)s
WHERE source = %(source)s AND (%(partition)s::text IS NULL OR partition = %(partition)s)
  AND to_time > %(watermark)s;
