-- What is written without the lease: the request budget, requests for work, alerts, outbox, mutes.

-- name: add_budget
INSERT INTO budget (key, window_s, window_start, used)
SELECT %(key)s, k.*, 0 FROM unnest(%(windows)s::integer[], %(starts)s::timestamptz[]) AS k
ON CONFLICT (key, window_s) DO NOTHING;

-- name: lock_budget
SELECT window_s, window_start, used, blocked_until FROM budget WHERE key = %(key)s
ORDER BY window_s FOR UPDATE;

-- name: put_budget
UPDATE budget b SET window_start = k.window_start, used = k.used
FROM unnest(%(windows)s::integer[], %(starts)s::timestamptz[], %(used)s::bigint[])
    AS k(window_s, window_start, used)
WHERE b.key = %(key)s AND b.window_s = k.window_s;

-- name: give_back
UPDATE budget SET used = greatest(0, used - %(count)s)
WHERE key = %(key)s AND window_s > 0 AND window_start <= %(at)s
  AND %(at)s < window_start + make_interval(secs => window_s);

-- name: block
INSERT INTO budget (key, window_s, window_start, used, blocked_until)
VALUES (%(key)s, 0, %(until)s, 0, %(until)s)
ON CONFLICT (key, window_s) DO UPDATE
SET blocked_until = greatest(budget.blocked_until, excluded.blocked_until);

-- name: queue_request
INSERT INTO request (source, kind, arguments, asked_by, queued_at)
VALUES (%(source)s, %(kind)s, %(arguments)s::jsonb, %(by)s, %(at)s)
RETURNING id;

-- name: newest_requests
SELECT id, source, kind, arguments, asked_by, queued_at, state, started, finished, progress, result, error,
       cancelling
FROM request WHERE %(source)s::text IS NULL OR source = %(source)s
ORDER BY id DESC LIMIT %(limit)s;

-- name: open_requests
SELECT id, source, kind, arguments, asked_by, queued_at, state, started, finished, progress, result, error,
       cancelling
FROM request
WHERE finished IS NULL AND (%(source)s::text IS NULL OR source = %(source)s)
ORDER BY id LIMIT %(limit)s;

-- name: one_request
SELECT id, source, kind, arguments, asked_by, queued_at, state, started, finished, progress, result, error,
       cancelling
FROM request WHERE id = %(id)s;

-- name: note_request
UPDATE request
SET state = coalesce(%(state)s, state),
    started = CASE WHEN %(state)s = 'running' THEN coalesce(started, %(at)s) ELSE started END,
    finished = CASE WHEN %(final)s THEN %(at)s::timestamptz ELSE finished END,
    progress = coalesce(%(progress)s, progress),
    result = coalesce(%(result)s::jsonb, result),
    error = coalesce(%(error)s, error)
WHERE id = %(id)s AND finished IS NULL;

-- name: cancel_request
UPDATE request
SET finished = CASE WHEN state = 'queued' THEN %(at)s::timestamptz END,
    cancelling = state <> 'queued',
    state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END
WHERE id = %(id)s AND finished IS NULL;

-- name: alerts
SELECT source, rule, subject, phase, severity, count, since, updated, alerted_at, sent, last_sent, notice,
       cause, value, detail
FROM alert;

-- name: put_alert
INSERT INTO alert (source, rule, subject, phase, severity, count, since, updated, alerted_at, sent, last_sent,
                   notice, cause, value, detail)
VALUES (%(source)s, %(rule)s, %(subject)s, %(phase)s, %(severity)s, %(count)s, %(since)s, %(updated)s,
        %(alerted_at)s, %(sent)s, %(last_sent)s, %(notice)s, %(cause)s, %(value)s, %(detail)s)
ON CONFLICT (source, rule, subject) DO UPDATE
SET phase = excluded.phase, severity = excluded.severity, count = excluded.count, since = excluded.since,
    updated = excluded.updated, alerted_at = excluded.alerted_at, sent = excluded.sent,
    last_sent = excluded.last_sent, notice = excluded.notice, cause = excluded.cause,
    value = excluded.value, detail = excluded.detail;

-- name: drop_alert
DELETE FROM alert WHERE source = %(source)s AND rule = %(rule)s AND subject = %(subject)s;

-- name: put_dispatch
INSERT INTO outbox (notice, channel, message, queued_at, next_try, tries, delivered_at, error)
VALUES (%(notice)s, %(channel)s, %(message)s::jsonb, %(queued_at)s, %(next_try)s, %(tries)s,
        %(delivered_at)s, %(error)s)
ON CONFLICT (notice, channel) DO NOTHING;

-- name: withdraw
-- The row stays: whoever is sending it at this moment still finds where to note that it arrived.
UPDATE outbox SET next_try = NULL, error = %(error)s
WHERE notice = ANY (%(notices)s::text[]) AND delivered_at IS NULL AND next_try IS NOT NULL;

-- name: claim
-- What another process is claiming at this moment is passed over, not waited for.
WITH due AS (
    SELECT notice, channel FROM outbox
    WHERE next_try <= %(now)s AND delivered_at IS NULL
    ORDER BY queued_at, notice, channel LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE outbox o SET next_try = %(until)s FROM due
    WHERE o.notice = due.notice AND o.channel = due.channel
    RETURNING o.*
)
SELECT message, channel, queued_at, next_try, tries, delivered_at, error FROM taken
ORDER BY queued_at, notice, channel;

-- name: tries_of
SELECT tries FROM outbox WHERE notice = %(notice)s AND channel = %(channel)s FOR UPDATE;

-- name: settle
-- What was given up may still turn out to have been delivered, but is not tried again.
UPDATE outbox
SET tries = %(tries)s + 1, delivered_at = %(delivered_at)s, next_try = %(next_try)s, error = %(error)s
WHERE notice = %(notice)s AND channel = %(channel)s AND tries = %(tries)s AND delivered_at IS NULL
  AND (next_try IS NOT NULL OR %(delivered_at)s::timestamptz IS NOT NULL);

-- name: delivered
SELECT DISTINCT notice FROM outbox
WHERE notice = ANY (%(notices)s::text[]) AND delivered_at IS NOT NULL;

-- name: dispatches
SELECT message, channel, queued_at, next_try, tries, delivered_at, error FROM outbox
ORDER BY queued_at DESC, notice DESC, channel DESC LIMIT %(limit)s;

-- name: mutes
SELECT source, until, reason, by, at FROM mute WHERE until > %(now)s;

-- name: put_mute
INSERT INTO mute (source, until, reason, by, at)
VALUES (%(source)s, %(until)s, %(reason)s, %(by)s, %(at)s)
ON CONFLICT (source) DO UPDATE
SET until = excluded.until, reason = excluded.reason, by = excluded.by, at = excluded.at;

-- name: drop_mute
DELETE FROM mute WHERE source = %(source)s;

-- name: tidy_outbox
DELETE FROM outbox WHERE ctid = ANY (ARRAY(
    SELECT o.ctid FROM outbox o
    WHERE o.queued_at < %(before)s AND o.next_try IS NULL
      AND NOT EXISTS (SELECT FROM alert a WHERE a.notice = o.notice) LIMIT %(limit)s));

-- name: tidy_request
DELETE FROM request WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM request WHERE finished < %(before)s LIMIT %(limit)s));

-- name: tidy_mute
DELETE FROM mute WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM mute WHERE until < %(before)s LIMIT %(limit)s));

-- name: tidy_limit_event
DELETE FROM limit_event WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM limit_event WHERE to_time < %(before)s LIMIT %(limit)s));
