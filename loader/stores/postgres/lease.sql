-- Who may write a source.

-- name: add_lease
INSERT INTO lease (source) VALUES (%(source)s) ON CONFLICT (source) DO NOTHING;

-- name: try_lock_source
SELECT pg_try_advisory_lock(hashtextextended('loader source ' || current_schema() || ' ' || %(source)s, 0));

-- name: unlock_source
SELECT pg_advisory_unlock(hashtextextended('loader source ' || current_schema() || ' ' || %(source)s, 0));

-- name: lease_holder
SELECT token, holder,
       coalesce(beat_at < clock_timestamp() - make_interval(secs => %(stale_s)s), true) AS stale,
       coalesce(extract(epoch FROM clock_timestamp() - beat_at)::double precision, 0) AS silent_s
FROM lease WHERE source = %(source)s;

-- name: end_stale
-- Token and age are judged on the very row that names the backends: whoever took over meanwhile is
-- not touched.
SELECT count(pg_terminate_backend(a.pid))
FROM lease l
CROSS JOIN LATERAL unnest(l.pids, l.starts) AS b(pid, start)
JOIN pg_stat_activity a ON a.pid = b.pid AND a.backend_start = b.start
WHERE l.source = %(source)s AND l.token = %(token)s
  AND coalesce(l.beat_at < clock_timestamp() - make_interval(secs => %(stale_s)s), true);

-- name: end_leftover
SELECT count(pg_terminate_backend(a.pid))
FROM lease l
CROSS JOIN LATERAL unnest(l.pids, l.starts) AS b(pid, start)
JOIN pg_stat_activity a ON a.pid = b.pid AND a.backend_start = b.start
WHERE l.source = %(source)s AND a.pid <> ALL (%(own)s::integer[]);

-- name: lock_lease
SELECT token FROM lease WHERE source = %(source)s FOR UPDATE;

-- name: take_lease
UPDATE lease
SET token = token + 1, holder = %(holder)s, beat_at = clock_timestamp(),
    pids = %(pids)s::integer[], starts = %(starts)s::timestamptz[]
WHERE source = %(source)s
RETURNING token;

-- name: beat
UPDATE lease
SET beat_at = clock_timestamp(), pids = %(pids)s::integer[], starts = %(starts)s::timestamptz[]
WHERE source = %(source)s AND token = %(token)s;

-- name: release_lease
UPDATE lease SET holder = '', pids = '{}', starts = '{}'
WHERE source = %(source)s AND token = %(token)s;

-- name: fence
SELECT FROM lease WHERE source = %(source)s AND token = %(token)s FOR KEY SHARE;
