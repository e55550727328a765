-- How one active system stands: its health, its live leases, those of all slow systems of shared workers, and how many workers
-- asked for admission within the last half minute. One index probe per system: batches that wait for their vendors are open
-- as well, and may be many.
SELECT y.connector, y.max_concurrency, y.failed_passes, y.is_slow, y.down_since IS NOT NULL AS is_down,
    coalesce(y.cooldown_until > clock_timestamp(), false) AS rests, live.own, live.slow, EXISTS (
        SELECT 1
        FROM systems q
        WHERE q.state = 'active'
            AND NOT q.is_slow
            AND q.down_since IS NULL
    ) AS has_quick, (
        SELECT count(*)
        FROM vendor_admissions
        WHERE admitted_at > clock_timestamp() - interval '30 seconds'
    ) AS workers
FROM systems y
CROSS JOIN LATERAL (
    SELECT coalesce(sum(l.n) FILTER (WHERE z.name = y.name), 0)::int AS own,
        coalesce(sum(l.n) FILTER (WHERE (z.is_slow OR z.down_since IS NOT NULL)
            AND NOT z.connector = ANY(CAST(:apart AS text[]))), 0)::int AS slow
    FROM systems z
    CROSS JOIN LATERAL (
        SELECT count(*) AS n
        FROM batches b
        WHERE b.system = z.name
            AND b.ended_at IS NULL
            AND b.lease_until > (SELECT clock_timestamp())
    ) AS l
) AS live
WHERE y.name = :system
    AND y.state = 'active'
