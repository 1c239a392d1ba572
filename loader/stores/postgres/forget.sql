-- What is deleted with a source, a bounded number of rows at a time.

-- name: source_ids
SELECT id FROM series WHERE source = %(source)s ORDER BY id;

-- name: forget_reading
-- Up to a time, not by a list of keys: that would be joined by scanning every month.
DELETE FROM reading WHERE series_id = %(of)s AND time <= coalesce(
    (SELECT time FROM reading WHERE series_id = %(of)s ORDER BY time OFFSET %(limit)s - 1 LIMIT 1), 'infinity');

-- name: forget_revision
DELETE FROM revision WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM revision WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_limit_event
DELETE FROM limit_event WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM limit_event WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_alert
DELETE FROM alert WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM alert WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_mute
DELETE FROM mute WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM mute WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_request
-- The request to forget the source is itself at work.
DELETE FROM request WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM request WHERE source = %(of)s AND finished IS NOT NULL LIMIT %(limit)s));

-- name: forget_place
DELETE FROM place WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM place WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_quarantine
DELETE FROM quarantine WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM quarantine WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_batch
DELETE FROM batch WHERE ctid = ANY (ARRAY(
    SELECT b.ctid FROM batch b JOIN run r ON r.id = b.run_id
    WHERE r.source = %(of)s LIMIT %(limit)s));

-- name: forget_run
DELETE FROM run WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM run WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_lateness
DELETE FROM lateness WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM lateness WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_series
DELETE FROM series WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM series WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_coverage
DELETE FROM coverage WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM coverage WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_hole
DELETE FROM hole WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM hole WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_partition
DELETE FROM partition WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM partition WHERE source = %(of)s LIMIT %(limit)s));

-- name: forget_pending
DELETE FROM pending WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM pending WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_quality
DELETE FROM quality WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM quality WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_cadence
DELETE FROM cadence WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM cadence WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_anomaly
DELETE FROM anomaly WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM anomaly WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_drift
DELETE FROM drift WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM drift WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_standing
DELETE FROM standing WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM standing WHERE series_id = %(of)s LIMIT %(limit)s));

-- name: forget_model
DELETE FROM model WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM model WHERE source = %(of)s LIMIT %(limit)s));
