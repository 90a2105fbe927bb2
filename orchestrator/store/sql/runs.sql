-- Runs: claims with epochs, slots, the single terminal transition.

-- insert --
INSERT INTO runs (id, experiment_id, project_id, variant, repeat, seed, lease_until)
SELECT r.id, %(experiment_id)s, %(project_id)s, r.variant, r.repeat, r.seed,
       now() + make_interval(secs => %(dispatch_seconds)s)
FROM unnest(%(ids)s::text[], %(variants)s::text[], %(repeats)s::int[], %(seeds)s::bigint[])
     WITH ORDINALITY AS r (id, variant, repeat, seed, position)
ORDER BY r.position;

-- get --
SELECT * FROM runs WHERE id = %(run_id)s;

-- fence --
SELECT id FROM runs WHERE id = %(run_id)s AND epoch = %(epoch)s AND owner IS NOT NULL FOR SHARE;

-- of_experiment --
SELECT * FROM runs WHERE experiment_id = %(experiment_id)s ORDER BY serial;

-- matching --
SELECT id FROM runs WHERE id LIKE %(pattern)s ORDER BY serial DESC LIMIT 5;

-- lock_project --
SELECT p.id, p.max_parallel FROM projects p
WHERE p.id = (SELECT project_id FROM runs WHERE id = %(run_id)s) FOR NO KEY UPDATE;

-- take_slot --
WITH taken AS (
    UPDATE runs r
    SET slot_held = true, parked_at = NULL, steps_done = 1, epoch = r.epoch + 1, rescues = 0,
        started_at = coalesce(r.started_at, now()),
        continuation = coalesce(%(continuation)s, r.continuation),
        lease_until = now() + make_interval(secs => %(dispatch_seconds)s)
    FROM experiments e
    WHERE r.id = %(run_id)s AND e.id = r.experiment_id AND r.steps_done = 0 AND r.state = 'queued'
      AND (r.slot_held
           OR ((SELECT count(*) FROM runs s WHERE s.project_id = r.project_id AND s.slot_held) < %(max_parallel)s
               AND (SELECT count(*) FROM runs s
                    WHERE s.project_id = r.project_id AND s.experiment_id = r.experiment_id AND s.slot_held)
                   < e.parallel))
    RETURNING r.id, r.epoch
), attempt AS (
    INSERT INTO step_attempts (run_id, epoch, step, worker, finished_at, outcome)
    SELECT id, epoch, 'acquire', %(owner)s, clock_timestamp(), 'done' FROM taken
)
SELECT id FROM taken;

-- park --
WITH parked AS (
    UPDATE runs
    SET parked_at = coalesce(parked_at, now()), continuation = coalesce(%(continuation)s, continuation)
    WHERE id = %(run_id)s AND steps_done = 0 AND state = 'queued' AND NOT slot_held
    RETURNING id
), event AS (
    INSERT INTO events (run_id, kind, detail) SELECT id, 'parked', 'waits for a free slot' FROM parked
)
SELECT id FROM parked;

-- wake --
WITH held AS MATERIALIZED (
    SELECT experiment_id, count(*) AS runs FROM runs
    WHERE project_id = %(project_id)s AND slot_held GROUP BY experiment_id
), woken AS (
    UPDATE runs
    SET slot_held = true, parked_at = NULL, steps_done = 1, epoch = epoch + 1, rescues = 0,
        started_at = coalesce(started_at, now()), lease_until = now() + make_interval(secs => %(dispatch_seconds)s)
    WHERE id = (
        SELECT r.id FROM runs r JOIN experiments e ON e.id = r.experiment_id
        LEFT JOIN held h ON h.experiment_id = r.experiment_id
        WHERE r.project_id = %(project_id)s AND r.parked_at IS NOT NULL
          AND (SELECT coalesce(sum(runs), 0) FROM held) < %(max_parallel)s AND coalesce(h.runs, 0) < e.parallel
        ORDER BY r.serial LIMIT 1)
    RETURNING id, epoch, continuation
), attempt AS (
    INSERT INTO step_attempts (run_id, epoch, step, worker, finished_at, outcome)
    SELECT id, epoch, 'acquire', %(owner)s, clock_timestamp(), 'done' FROM woken
), event AS (
    INSERT INTO events (run_id, kind, detail) SELECT id, 'woken', 'a slot is free' FROM woken
)
SELECT id, continuation FROM woken;

-- projects_with_parked --
SELECT DISTINCT project_id FROM runs WHERE parked_at IS NOT NULL;

-- lock_project_by_id --
SELECT id, max_parallel FROM projects WHERE id = %(project_id)s FOR NO KEY UPDATE;

-- claim --
WITH claimed AS (
    UPDATE runs
    SET epoch = epoch + 1, owner = %(owner)s, host = %(host)s, process_group = NULL, step_tries = step_tries + 1,
        lease_until = now() + make_interval(secs => %(lease_seconds)s),
        state = %(state)s::run_state
    WHERE id = %(run_id)s AND steps_done = %(number)s - 1
      AND (owner IS NULL OR lease_until < clock_timestamp())
      AND (slot_held OR (state = 'settling' AND verdict = 'promote'))
      AND state = ANY (%(sources)s::run_state[])
    RETURNING *
), lost AS (
    UPDATE step_attempts a
    SET finished_at = clock_timestamp(), outcome = 'lost', reason = 'its worker stopped answering'
    FROM claimed c WHERE c.step_tries > 1 AND a.run_id = c.id AND a.epoch < c.epoch AND a.finished_at IS NULL
), attempt AS (
    INSERT INTO step_attempts (run_id, epoch, step, worker) SELECT id, epoch, %(step)s, %(owner)s FROM claimed
), event AS (
    INSERT INTO events (run_id, kind, detail)
    SELECT id, 'state', %(state)s FROM claimed WHERE ending IS NULL AND step_tries = 1
)
SELECT * FROM claimed;

-- heartbeat --
UPDATE runs SET lease_until = now() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(run_id)s AND epoch = %(epoch)s AND owner IS NOT NULL
RETURNING cancel_requested_at IS NOT NULL AS cancel_requested;

-- record_process --
UPDATE runs SET process_group = %(process_group)s
WHERE id = %(run_id)s AND epoch = %(epoch)s AND owner IS NOT NULL RETURNING id;

-- count_agent_start --
UPDATE runs SET agent_starts = agent_starts + 1
WHERE id = %(run_id)s AND epoch = %(epoch)s AND owner IS NOT NULL RETURNING agent_starts;

-- commit_step --
WITH done AS (
    UPDATE runs
    SET steps_done = %(number)s, owner = NULL, process_group = NULL, step_tries = 0, rescues = 0,
        lease_until = now() + make_interval(secs => %(dispatch_seconds)s),
        ending = coalesce(ending, %(ending)s::run_state),
        reason = coalesce(reason, %(reason)s)
    WHERE id = %(run_id)s AND epoch = %(epoch)s AND owner IS NOT NULL
    RETURNING id, epoch
), attempt AS (
    UPDATE step_attempts a SET finished_at = clock_timestamp(), outcome = %(outcome)s, reason = %(reason)s
    FROM done d WHERE a.run_id = d.id AND a.epoch = d.epoch
), event AS (
    INSERT INTO events (run_id, kind, detail)
    SELECT id, 'ending', %(reason)s FROM done WHERE %(ending)s::text IS NOT NULL
)
SELECT id FROM done;

-- release_claim --
WITH released AS (
    UPDATE runs SET owner = NULL, process_group = NULL, lease_until = now() + make_interval(secs => %(delay_seconds)s)
    WHERE id = %(run_id)s AND epoch = %(epoch)s AND owner IS NOT NULL
    RETURNING id, epoch
)
UPDATE step_attempts a SET finished_at = clock_timestamp(), outcome = 'retry', reason = %(reason)s
FROM released r WHERE a.run_id = r.id AND a.epoch = r.epoch RETURNING a.run_id;

-- store_results --
UPDATE runs
SET changeset_hash = coalesce(%(changeset_hash)s, changeset_hash), log_hash = coalesce(%(log_hash)s, log_hash),
    baseline_fingerprint = coalesce(%(baseline_fingerprint)s, baseline_fingerprint),
    agent_seconds = coalesce(%(agent_seconds)s, agent_seconds), notes = coalesce(%(notes)s, notes)
WHERE id = %(run_id)s AND epoch = %(epoch)s AND owner IS NOT NULL RETURNING id;

-- finish --
WITH ended AS (
    UPDATE runs
    SET state = %(to)s::run_state, verdict = %(verdict)s::verdict, reason = %(reason)s, ending = NULL,
        slot_held = false, parked_at = NULL, owner = NULL, process_group = NULL, epoch = epoch + 1, step_tries = 0,
        steps_done = 6,
        merged_at = CASE WHEN %(to)s = 'merged' THEN now() END,
        finished_at = CASE WHEN %(to)s IN ('merged', 'discarded', 'failed', 'cancelled') THEN now() END
    WHERE id = %(run_id)s AND state = ANY (%(sources)s::run_state[])
      AND (%(epoch)s::int IS NULL OR (epoch = %(epoch)s AND owner IS NOT NULL))
      AND (NOT %(idle)s OR (owner IS NULL AND state <> 'settling'))
      AND (%(seen)s::run_state IS NULL OR state = %(seen)s::run_state)
    RETURNING id, epoch, experiment_id, project_id, continuation
), attempt AS (
    UPDATE step_attempts a SET finished_at = clock_timestamp(), outcome = %(outcome)s, reason = %(reason)s
    FROM ended e WHERE a.run_id = e.id AND a.finished_at IS NULL
), event AS (
    INSERT INTO events (run_id, kind, detail) SELECT id, %(to)s, %(reason)s FROM ended
)
SELECT * FROM ended;

-- live_in_experiment --
SELECT EXISTS (
    SELECT FROM runs
    WHERE experiment_id = %(experiment_id)s
      AND state IN ('queued', 'provisioning', 'running', 'migrating', 'capturing', 'settling')
) AS live;

-- begin_promotion --
WITH promoted AS (
    UPDATE runs
    SET state = 'settling', verdict = 'promote', reason = %(reason)s, steps_done = 5, owner = NULL, step_tries = 0,
        continuation = NULL, lease_until = now() + make_interval(secs => %(dispatch_seconds)s)
    WHERE id = %(run_id)s AND state IN ('candidate', 'held') RETURNING id
), event AS (
    INSERT INTO events (run_id, kind, detail) SELECT id, 'promote', %(reason)s FROM promoted
)
SELECT id FROM promoted;

-- request_cancel --
UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, now())
WHERE id = %(run_id)s AND state NOT IN ('merged', 'discarded', 'failed', 'cancelled') RETURNING state, slot_held;

-- overdue --
SELECT * FROM runs
WHERE state IN ('queued', 'provisioning', 'running', 'migrating', 'capturing', 'settling')
  AND parked_at IS NULL AND lease_until < clock_timestamp()
ORDER BY serial LIMIT %(limit)s;

-- held_too_long --
SELECT r.* FROM runs r JOIN projects p ON p.id = r.project_id
WHERE r.state = 'held'
  AND NOT EXISTS (SELECT FROM environments e WHERE e.run_id = r.id AND e.expires_at > now())
  AND (EXISTS (SELECT FROM environments e WHERE e.run_id = r.id AND e.kept)
       OR NOT EXISTS (SELECT FROM events v WHERE v.run_id = r.id AND v.kind = 'held'
                      AND v.at > now() - make_interval(secs => p.ttl_seconds)))
ORDER BY r.serial LIMIT %(limit)s;

-- postpone --
UPDATE runs SET rescues = rescues + 1,
    lease_until = now() + make_interval(secs => %(delay_seconds)s),
    owner = NULL, epoch = epoch + CASE WHEN owner IS NULL THEN 0 ELSE 1 END
WHERE id = %(run_id)s AND epoch = %(epoch)s AND (%(force)s OR lease_until < clock_timestamp())
RETURNING id;

-- measure --
INSERT INTO measurements (run_id, name, value)
SELECT %(run_id)s, m.name, m.value FROM unnest(%(names)s::text[], %(values)s::float8[]) AS m (name, value)
ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value;

-- check --
INSERT INTO checks (run_id, name, ok, detail)
SELECT %(run_id)s, c.name, c.ok, c.detail
FROM unnest(%(names)s::text[], %(oks)s::bool[], %(details)s::text[]) AS c (name, ok, detail)
ON CONFLICT (run_id, name) DO UPDATE SET ok = excluded.ok, detail = excluded.detail;

-- measurements --
SELECT run_id, name, value FROM measurements WHERE run_id = ANY (%(run_ids)s) ORDER BY run_id, name;

-- checks --
SELECT run_id, name, ok, detail FROM checks WHERE run_id = ANY (%(run_ids)s) ORDER BY run_id, name;

-- attempts --
SELECT * FROM step_attempts WHERE run_id = %(run_id)s ORDER BY epoch;

-- events --
SELECT * FROM events WHERE run_id = %(run_id)s ORDER BY id;

-- add_event --
INSERT INTO events (run_id, kind, detail) VALUES (%(run_id)s, %(kind)s, %(detail)s);

-- prune_events --
WITH pruned AS (
    DELETE FROM events e USING runs r
    WHERE r.id = e.run_id AND r.finished_at < now() - make_interval(days => %(days)s) RETURNING e.id
)
SELECT count(*) AS pruned FROM pruned;
