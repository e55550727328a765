-- Which transitions these requests are due for; requests without any are left out.
--
-- One probe of the index of `steps` by request for each of them, however many steps are in the table: the lateral
-- subqueries keep the planner at it. Each lateral part names a condition once, for the parts behind it.
--
-- s  searching: a step searches and isn't parked. A parked search doesn't hold up the others: its step stays in the
--    plan and goes on when a person has decided.
--    all_told: every step has ended, or its vendor has accepted everything and only a look is left. While one job of
--    several runs, the next hasn't even begun ('earlier_system_first' is a wait of ours, not the vendor's).
--    first_busy: the first position with a step that hasn't had its effect; later systems wait for it.
--    first_waiting: the first position with a step that waits for earlier systems, as EarlierSystemsDone in
--    service/domain/execution/decide.py has it.
-- a  is_finished: a request that ended: fulfilled, denied, revoked or expired.
-- b  is_planned: nothing is to be frozen, and there is a plan or nothing to plan.
SELECT r.id, a.freezes, c.starts_later, c.answers, d.frees, d.seals, b.is_planned AND s.leased AS checks_later
FROM requests r
CROSS JOIN LATERAL (
    SELECT
        count(*) AS steps,
        coalesce(bool_or(state = 'leased'), false) AS leased,
        coalesce(
            bool_or(phase = 'locate' AND NOT located AND ended_at IS NULL AND state <> 'parked'), false
        ) AS searching,
        coalesce(bool_and(ended_at IS NOT NULL), true) AS all_ended,
        coalesce(
            bool_and(
                ended_at IS NOT NULL
                OR state = 'accepted' AND phase = 'confirm' AND reason IS DISTINCT FROM 'earlier_system_first'
            ),
            true
        ) AS all_told,
        min(position) FILTER (WHERE ended_at IS NULL AND phase <> 'confirm') AS first_busy,
        min(position) FILTER (
            WHERE (state = 'due' AND waits_for_order OR state = 'accepted' AND reason = 'earlier_system_first')
                AND due_at > (SELECT clock_timestamp())
        ) AS first_waiting
    FROM steps
    WHERE request_id = r.id
) AS s
CROSS JOIN LATERAL (
    SELECT
        r.state IN ('denied', 'expired', 'fulfilled', 'revoked') AS is_finished,
        coalesce(
            r.next_action = 'freeze' AND (r.due_at <= (SELECT clock_timestamp()) OR NOT s.searching), false
        ) AS freezes
) AS a
CROSS JOIN LATERAL (
    SELECT NOT a.freezes AND (r.plan_version > 0 OR a.is_finished) AS is_planned
) AS b
CROSS JOIN LATERAL (
    SELECT
        b.is_planned
            AND coalesce(s.first_waiting <= coalesce(s.first_busy, s.first_waiting), false) AS starts_later,
        b.is_planned AND r.state = 'in_progress' AND s.steps > 0 AND s.all_told
            AND coalesce(r.reason IN ('erasing', 'locating', 'suppressing'), false) AS answers
) AS c
CROSS JOIN LATERAL (
    SELECT
        (b.is_planned AND a.is_finished OR c.answers)
            AND EXISTS (
                SELECT 1 FROM requests l
                WHERE l.duplicate_of = r.id AND l.state = 'in_progress' AND l.reason = 'duplicate'
            ) AS frees,
        (b.is_planned AND a.is_finished OR c.answers)
            AND r.next_action IS NULL AND r.sealed_at IS NULL AND s.all_ended AS seals
) AS d
WHERE r.id = ANY(CAST(:ids AS uuid[]))
    AND (a.freezes OR c.starts_later OR c.answers OR d.frees OR d.seals OR b.is_planned AND s.leased)
ORDER BY r.id
