-- What a commit looks at around its readings, and the flags it changes there.

-- name: copy_around
-- Of each stretch the readings in it and the nearest ones on either side, as many as it asks for.
-- OFFSET 0 keeps the planner from turning a few index look-ups into a scan of a whole month.
COPY (
    SELECT w.at, r.time, r.value, r.flag, r.tests
    FROM unnest(%(at)s::integer[], %(ids)s::integer[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[],
                %(before)s::integer[], %(after)s::integer[]) AS w(at, id, first, last, before, after)
    CROSS JOIN LATERAL (
        (SELECT time, coalesce(value, 'NaN') AS value, flag, tests FROM reading
         WHERE series_id = w.id AND time >= w.first AND time <= w.last
           AND time >= %(low)s AND time <= %(high)s
         OFFSET 0)
        UNION ALL
        (SELECT time, coalesce(value, 'NaN'), flag, tests FROM reading
         WHERE series_id = w.id AND time < w.first AND time >= %(low)s AND time <= %(high)s
         ORDER BY time DESC LIMIT w.before)
        UNION ALL
        (SELECT time, coalesce(value, 'NaN'), flag, tests FROM reading
         WHERE series_id = w.id AND time > w.last AND time >= %(low)s AND time <= %(high)s
         ORDER BY time LIMIT w.after)
    ) r
) TO STDOUT (FORMAT binary);

-- name: count_between
SELECT w.at, r.rows
FROM unnest(%(at)s::integer[], %(ids)s::integer[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
    AS w(at, id, first, last)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM (
        SELECT FROM reading
        WHERE series_id = w.id AND time >= w.first AND time <= w.last
          AND time >= %(low)s AND time <= %(high)s
        LIMIT %(limit)s
    ) found
) r;

-- name: reflag_readings
-- Left to itself the planner scans whole months to meet a list of keys.
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
UPDATE reading r
SET flag = v.flag, tests = v.tests
FROM unnest(%(ids)s::integer[], %(times)s::timestamptz[], %(flags)s::smallint[], %(tests)s::integer[])
    AS v(series_id, time, flag, tests)
WHERE r.series_id = v.series_id AND r.time = v.time
  AND r.time >= %(low)s AND r.time <= %(high)s
  AND (r.flag, r.tests) IS DISTINCT FROM (v.flag, v.tests)
RETURNING r.series_id, r.time;
