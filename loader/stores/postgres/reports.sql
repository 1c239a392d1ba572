-- What may be asked.

-- name: sources
SELECT source FROM partition UNION SELECT source FROM run;

-- name: runs
SELECT id, source, trigger, started, finished, outcome, partitions_ok, partitions_failed,
       slowest_request_s, quality, error,
       fetched, new, duplicate, refetched, revised, late, missing, suspect, failed, quarantined,
       vanished, due, observed, inconsistent, expired, requests, errors, bytes
FROM run WHERE %(source)s::text IS NULL OR source = %(source)s
ORDER BY id DESC LIMIT %(limit)s;

-- name: series
SELECT s.id, s.source, s.first_time, s.last_time, p.latitude, p.longitude,
       s.sensor, s.parameter, s.unit, s.station, s.partition, s.name, s.timezone, s.cadence_s, s.replaces
FROM series s
LEFT JOIN LATERAL (
    SELECT latitude, longitude FROM place WHERE place.series_id = s.id ORDER BY from_time DESC LIMIT 1
) p ON true
WHERE %(source)s::text IS NULL OR s.source = %(source)s
ORDER BY s.id;

-- name: partition_rows
SELECT partition, station, discovered_at, listed_at, watermark, swept_at, expired_to, failures, last_error
FROM partition WHERE source = %(source)s;

-- name: partition_series
SELECT sensor, parameter, unit, station, partition, name, timezone, cadence_s, replaces
FROM series WHERE source = %(source)s ORDER BY id;

-- name: partition_coverage
SELECT partition, from_time, to_time FROM coverage WHERE source = %(source)s ORDER BY partition, from_time;

-- name: partition_holes
SELECT partition, from_time, to_time, cause, tries, next_try, isolated FROM hole
WHERE source = %(source)s ORDER BY partition, from_time;

-- name: partition_lateness
SELECT s.partition, l.histogram FROM lateness l JOIN series s ON s.id = l.series_id
WHERE l.source = %(source)s ORDER BY l.series_id;

-- name: limit_events
SELECT e.series_id, e.level, e.threshold, e.from_time, e.to_time, e.peak, e.readings
FROM limit_event e JOIN series s ON s.id = e.series_id
WHERE (%(source)s::text IS NULL OR s.source = %(source)s) AND (e.to_time IS NULL OR e.to_time > %(since)s)
ORDER BY e.series_id, e.from_time, e.level, e.threshold;

-- name: scan
COPY (
    SELECT time, coalesce(value, 'NaN'), flag, tests FROM reading
    WHERE series_id = %(id)s AND time > %(start)s AND time <= %(end)s
    ORDER BY time LIMIT %(limit)s
) TO STDOUT (FORMAT binary);

-- name: thinned
COPY (
    SELECT r.time, r.value, r.flag, r.tests
    FROM generate_series(date_bin(%(cell)s, %(start)s, 'epoch'), %(end)s - interval '1 us', %(cell)s)
        AS cell (start)
    CROSS JOIN LATERAL (
        SELECT time, value, flag, tests FROM reading
        WHERE series_id = %(id)s
            AND time > greatest(cell.start, %(start)s) AND time <= least(cell.start + %(cell)s, %(end)s)
            AND flag IN (1, 2) AND value BETWEEN '-1.7976931348623157e308' AND '1.7976931348623157e308'
        ORDER BY time DESC LIMIT 1
    ) AS r
    ORDER BY r.time
) TO STDOUT (FORMAT binary);

-- name: quarantined
SELECT source, partition, rule, digest, reason, payload, time, first_run, last_seen, count, replayed_by
FROM quarantine WHERE %(source)s::text IS NULL OR source = %(source)s
ORDER BY last_seen DESC, source, partition, digest LIMIT %(limit)s;

-- name: facts
SELECT current_setting('server_version'), current_database(), current_schema(),
       pg_size_pretty(pg_database_size(current_database())),
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       (SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('reading')),
       pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on';
