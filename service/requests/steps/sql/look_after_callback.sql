-- Accepted steps that a vendor's callback speaks of: they are looked at sooner, but not before the vendor's own delay is
-- over, and not twice within the pause between callbacks. A locked step is being worked on, and isn't waited for.
-- :hashes is NULL for a callback about any job. Each branch reads one partial index: of steps with jobs, of due steps
-- without a batch, of due steps with one; the planner would otherwise read the table. Found steps are named by an
-- array: joined, they would be merged with the whole primary key where the planner expects many of them.
-- The same condition as CallbackReceived in service/domain/execution/decide.py.
WITH found AS MATERIALIZED (
    (SELECT id FROM steps
        WHERE CAST(:hashes AS bytea[]) IS NOT NULL
            AND system = :system AND state = 'accepted' AND job_hashes IS NOT NULL
            AND job_hashes && CAST(:hashes AS bytea[])
            AND due_at > greatest(clock_timestamp(), hinted_at + make_interval(secs => :pause),
                CASE WHEN phase = 'confirm' THEN effect_at + make_interval(secs => :delay) END)
        LIMIT :most)
    UNION ALL
    (SELECT id FROM steps
        WHERE CAST(:hashes AS bytea[]) IS NULL AND system = :system AND state = 'accepted' AND batch_id IS NULL
            AND due_at > greatest(clock_timestamp(), hinted_at + make_interval(secs => :pause),
                CASE WHEN phase = 'confirm' THEN effect_at + make_interval(secs => :delay) END)
        LIMIT :most)
    UNION ALL
    (SELECT id FROM steps
        WHERE CAST(:hashes AS bytea[]) IS NULL AND system = :system AND state = 'accepted' AND batch_id IS NOT NULL
            AND due_at > greatest(clock_timestamp(), hinted_at + make_interval(secs => :pause),
                CASE WHEN phase = 'confirm' THEN effect_at + make_interval(secs => :delay) END)
        LIMIT :most)
), locked AS MATERIALIZED (
    SELECT * FROM steps WHERE id = ANY(ARRAY(SELECT id FROM found)) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), sooner AS MATERIALIZED (
    SELECT id, greatest(clock_timestamp(), hinted_at + make_interval(secs => :pause),
        CASE WHEN phase = 'confirm' THEN effect_at + make_interval(secs => :delay) END) AS look_at
    FROM locked
    WHERE state = 'accepted'
)
UPDATE steps s
SET due_at = n.look_at, hinted_at = n.look_at
FROM sooner n
WHERE s.id = n.id AND s.id = ANY(ARRAY(SELECT id FROM sooner)) AND s.due_at > n.look_at
