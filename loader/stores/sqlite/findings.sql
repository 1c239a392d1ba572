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
SELECT time, value, flag, tests FROM reading
WHERE series_id = ? AND time >= ? AND time <= ? ORDER BY time;

-- name: put_flags
UPDATE reading SET flag = ?, tests = ? WHERE series_id = ? AND time = ?;
