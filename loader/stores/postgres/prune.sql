-- What retention deletes. A cutoff that is NULL keeps everything of its kind.

-- name: expire_partitions
UPDATE partition SET expired_to = %(readings)s
WHERE source = %(source)s AND (expired_to IS NULL OR expired_to < %(readings)s);

-- name: expire_coverage
DELETE FROM coverage WHERE source = %(source)s AND to_time <= %(readings)s;

-- name: trim_coverage
UPDATE coverage SET from_time = %(readings)s WHERE source = %(source)s AND from_time < %(readings)s;

-- name: expire_hole
DELETE FROM hole WHERE source = %(source)s AND to_time <= %(readings)s;

-- name: trim_hole
UPDATE hole SET from_time = %(readings)s WHERE source = %(source)s AND from_time < %(readings)s;

-- name: expire_pending
DELETE FROM pending p USING series s
WHERE s.id = p.series_id AND s.source = %(source)s AND p.to_time <= %(readings)s;

-- name: trim_pending
UPDATE pending p SET from_time = %(readings)s FROM series s
WHERE s.id = p.series_id AND s.source = %(source)s AND p.from_time < %(readings)s;

-- name: expiring_series
SELECT id FROM series WHERE source = %(source)s AND first_time <= %(readings)s ORDER BY id;

-- name: prune_reading
-- Up to a time, not by a list of keys: that would be joined by scanning every month.
DELETE FROM reading WHERE series_id = %(of)s AND time <= %(readings)s AND time <= coalesce(
    (SELECT time FROM reading WHERE series_id = %(of)s AND time <= %(readings)s
     ORDER BY time OFFSET %(limit)s - 1 LIMIT 1), 'infinity');

-- name: shrink_series
UPDATE series s
SET first_time = (SELECT time FROM reading WHERE series_id = s.id ORDER BY time LIMIT 1)
WHERE s.id = ANY (%(ids)s::integer[]);

-- name: shrink_dropped
-- Of every source, but without waiting: whoever commits holds its series and waits for the table.
UPDATE series s
SET first_time = (SELECT time FROM reading WHERE series_id = s.id ORDER BY time LIMIT 1)
WHERE s.id = ANY (ARRAY(
    SELECT id FROM series WHERE first_time >= %(start)s AND first_time < %(stop)s
    FOR NO KEY UPDATE SKIP LOCKED));

-- name: prune_anomaly
DELETE FROM anomaly WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM series s JOIN anomaly a ON a.series_id = s.id
    WHERE s.source = %(source)s AND a.time <= %(readings)s LIMIT %(limit)s));

-- name: prune_revision
DELETE FROM revision WHERE ctid = ANY (ARRAY(
    SELECT v.ctid FROM series s JOIN revision v ON v.series_id = s.id
    WHERE s.source = %(source)s AND v.time <= %(revisions)s LIMIT %(limit)s));

-- name: prune_quarantine
DELETE FROM quarantine WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM quarantine WHERE source = %(source)s AND last_seen <= %(quarantine)s LIMIT %(limit)s));

-- name: prune_batch
-- Never of a run that has not ended: its counts are still to be added up.
DELETE FROM batch WHERE ctid = ANY (ARRAY(
    SELECT b.ctid FROM run r JOIN batch b ON b.run_id = r.id
    WHERE r.source = %(source)s AND r.finished IS NOT NULL
      AND (b.committed_at <= %(batches)s OR r.finished <= %(runs)s) LIMIT %(limit)s));

-- name: prune_run
DELETE FROM run WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM run r WHERE source = %(source)s AND finished <= %(runs)s
      AND NOT EXISTS (SELECT FROM batch b WHERE b.run_id = r.id) LIMIT %(limit)s));

-- name: prunable_reading
SELECT count(*) FROM series s
CROSS JOIN LATERAL (SELECT FROM reading WHERE series_id = s.id AND time <= %(readings)s OFFSET 0) r
WHERE s.source = %(source)s AND s.first_time <= %(readings)s;

-- name: prunable_anomaly
SELECT count(*) FROM series s JOIN anomaly a ON a.series_id = s.id
WHERE s.source = %(source)s AND a.time <= %(readings)s;

-- name: prunable_revision
SELECT count(*) FROM series s JOIN revision v ON v.series_id = s.id
WHERE s.source = %(source)s AND v.time <= %(revisions)s;

-- name: prunable_quarantine
SELECT count(*) FROM quarantine WHERE source = %(source)s AND last_seen <= %(quarantine)s;

-- name: prunable_batch
SELECT count(*) FROM run r JOIN batch b ON b.run_id = r.id
WHERE r.source = %(source)s AND r.finished IS NOT NULL
  AND (b.committed_at <= %(batches)s OR r.finished <= %(runs)s);

-- name: prunable_run
SELECT count(*) FROM run WHERE source = %(source)s AND finished <= %(runs)s;

-- name: months
-- Those that end not after a time, as (schema, table, from, to), whatever they are called.
SELECT n.nspname, c.relname, b.start, b.stop
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL regexp_match(
    pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS found
CROSS JOIN LATERAL (SELECT found[1]::timestamptz AS start, found[2]::timestamptz AS stop) b
WHERE i.inhparent = 'reading'::regclass AND c.relkind = 'r' AND b.stop <= %(cutoff)s
ORDER BY b.start;

-- name: chunks
SELECT chunk_schema::text, chunk_name::text, range_start, range_end
FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = 'reading' AND range_end <= %(cutoff)s
ORDER BY range_start;

-- name: unexpired
-- Whether a stretch still holds a reading that has to stay. It goes from series to series by the
-- index, not through all rows.
WITH RECURSIVE found(id) AS (
    (SELECT series_id FROM reading WHERE time >= %(start)s AND time < %(stop)s ORDER BY series_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.series_id FROM reading r
            WHERE r.series_id > f.id AND r.time >= %(start)s AND r.time < %(stop)s
            ORDER BY r.series_id LIMIT 1)
    FROM found f WHERE f.id IS NOT NULL
)
SELECT EXISTS (
    SELECT FROM found f
    LEFT JOIN series s ON s.id = f.id
    LEFT JOIN partition p ON p.source = s.source AND p.partition = s.partition
    WHERE f.id IS NOT NULL AND EXISTS (
        SELECT FROM reading r
        WHERE r.series_id = f.id AND r.time >= %(start)s AND r.time < %(stop)s
          AND r.time > coalesce(p.expired_to, '-infinity')));

-- name: month_readings
SELECT count(*) FROM series s
CROSS JOIN LATERAL (
    SELECT FROM reading WHERE series_id = s.id AND time >= %(start)s AND time < %(stop)s OFFSET 0
) r
WHERE s.source = %(source)s;

-- name: lock_readings
-- The parent first, as DROP TABLE does. A commit that waits for it too must not see a deadlock:
-- whoever drops gives up first.
SET LOCAL lock_timeout = '500ms';
SELECT pg_advisory_xact_lock(hashtextextended('loader months ' || current_schema(), 0));
LOCK TABLE ONLY reading IN ACCESS EXCLUSIVE MODE;

-- name: drop_chunk
SELECT drop_chunks('reading'::regclass, older_than => %(stop)s::timestamptz, newer_than => %(start)s::timestamptz);

-- name: expired_to
SELECT partition, expired_to FROM partition
WHERE source = %(source)s AND partition = ANY (%(partitions)s::text[]) AND expired_to IS NOT NULL;
