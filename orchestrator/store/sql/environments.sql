-- Environments and the resources that they consist of: intent before act, seen gone at the end.

-- insert --
WITH next AS (
    SELECT nextval(pg_get_serial_sequence('environments', 'id')) AS id
)
INSERT INTO environments (id, name, purpose, project_id, baseline_id, run_id, expires_at)
OVERRIDING SYSTEM VALUE
SELECT next.id, %(prefix)s || next.id, %(purpose)s, %(project_id)s, %(baseline_id)s, %(run_id)s,
       now() + make_interval(secs => %(ttl_seconds)s)
FROM next RETURNING *;

-- add_resources --
INSERT INTO resources (environment_id, kind, name)
SELECT %(environment_id)s, r.kind, r.name FROM unnest(%(kinds)s::text[], %(names)s::text[]) AS r (kind, name)
ON CONFLICT (environment_id, kind, name) DO UPDATE SET gone_at = NULL;

-- get --
SELECT * FROM environments WHERE id = %(environment_id)s;

-- by_name --
SELECT * FROM environments WHERE name = ANY (%(names)s);

-- of_run --
SELECT * FROM environments WHERE run_id = %(run_id)s ORDER BY id;

-- current --
SELECT * FROM environments
WHERE run_id = %(run_id)s AND purpose <> 'scratch' AND state IN ('creating', 'ready') ORDER BY id DESC LIMIT 1;

-- ready --
UPDATE environments SET state = 'ready', ready_at = now()
WHERE id = %(environment_id)s AND state = 'creating' RETURNING id;

-- take_from_pool --
UPDATE environments
SET purpose = 'run', run_id = %(run_id)s, expires_at = now() + make_interval(secs => %(ttl_seconds)s)
WHERE id = (SELECT id FROM environments
            WHERE purpose = 'pool' AND state = 'ready' AND baseline_id = %(baseline_id)s AND expires_at > now()
            ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING *;

-- pool_sizes --
SELECT p.id AS project_id, p.name AS project, p.pool_size, b.id AS baseline_id,
       (SELECT count(*) FROM environments e
        WHERE e.purpose = 'pool' AND e.state IN ('creating', 'ready') AND e.baseline_id = b.id) AS present
FROM projects p
JOIN LATERAL (SELECT id FROM baselines WHERE project_id = p.id AND state = 'sealed'
              ORDER BY number DESC LIMIT 1) b ON true;

-- stale_pool --
SELECT e.* FROM environments e JOIN projects p ON p.id = e.project_id
WHERE e.purpose = 'pool' AND e.state = 'ready'
  AND (e.baseline_id <> (SELECT id FROM baselines b WHERE b.project_id = p.id AND b.state = 'sealed'
                         ORDER BY number DESC LIMIT 1)
       OR p.pool_size = 0);

-- take_for_release --
UPDATE environments SET state = 'releasing', release_requested_at = now(), reason = %(reason)s
WHERE id = %(environment_id)s AND state IN ('creating', 'ready', 'lost') RETURNING *;

-- take_if_idle --
WITH run AS MATERIALIZED (
    -- The lock waits for a worker that is claiming the run, and one that comes later waits for this.
    SELECT r.owner IS NOT NULL AND r.lease_until >= clock_timestamp()
           AND r.state IN ('queued', 'provisioning', 'running', 'migrating', 'capturing', 'settling') AS busy
    FROM environments e JOIN runs r ON r.id = e.run_id
    WHERE e.id = %(environment_id)s FOR NO KEY UPDATE OF r
)
UPDATE environments SET state = 'releasing', release_requested_at = now(), reason = %(reason)s
WHERE id = %(environment_id)s AND state IN ('creating', 'ready', 'lost') AND NOT EXISTS (SELECT FROM run WHERE busy)
RETURNING *;

-- unpool --
UPDATE environments SET state = 'releasing', release_requested_at = now(), reason = %(reason)s
WHERE id = (SELECT id FROM environments
            WHERE id = %(environment_id)s AND purpose = 'pool' AND state = 'ready' FOR UPDATE SKIP LOCKED)
RETURNING *;

-- keep --
UPDATE environments SET kept = true, reason = %(reason)s
WHERE id = %(environment_id)s AND state IN ('creating', 'ready') RETURNING id;

-- released --
UPDATE environments SET state = 'released', released_at = now()
WHERE id = %(environment_id)s AND state = 'releasing' RETURNING id;

-- gone --
UPDATE resources SET gone_at = coalesce(gone_at, now())
WHERE environment_id = %(environment_id)s AND (kind, name) IN (
    SELECT * FROM unnest(%(kinds)s::text[], %(names)s::text[]));

-- still_listed --
SELECT e.*, r.name AS resource FROM resources r JOIN environments e ON e.id = r.environment_id
WHERE r.gone_at IS NULL AND r.kind = %(kind)s AND starts_with(r.name, %(prefix)s)
ORDER BY e.id LIMIT %(limit)s;

-- due --
SELECT e.* FROM environments e
LEFT JOIN runs r ON r.id = e.run_id
WHERE e.state <> 'released'
  AND ((e.state = 'releasing' AND e.release_requested_at < now() - interval '10 seconds')
       OR (e.expires_at < now()
           AND (r.id IS NULL
                OR r.state IN ('candidate', 'held', 'merged', 'discarded', 'failed', 'cancelled')
                OR r.owner IS NULL OR r.lease_until < clock_timestamp()))
       OR (e.created_at < now() - make_interval(secs => %(older_than_seconds)s) AND NOT e.kept
           AND e.purpose <> 'pool'
           AND (r.id IS NULL OR r.state IN ('candidate', 'merged', 'discarded', 'failed', 'cancelled')))
       OR (NOT e.kept AND e.purpose = 'run'
           AND r.state IN ('candidate', 'held', 'merged', 'discarded', 'failed', 'cancelled')
           AND e.created_at < now() - interval '10 seconds')
       OR (e.purpose = 'scratch'
           AND (r.state IS NULL OR r.state <> 'capturing' OR r.owner IS NULL OR r.lease_until < clock_timestamp())
           AND e.created_at < now() - interval '60 seconds')
       OR (e.purpose = 'pool' AND e.state = 'creating' AND e.created_at < now() - interval '10 minutes'))
ORDER BY e.id LIMIT %(limit)s;

-- open --
SELECT e.*, r.state AS run_state FROM environments e LEFT JOIN runs r ON r.id = e.run_id
WHERE e.state <> 'released' AND (%(project_id)s::bigint IS NULL OR e.project_id = %(project_id)s) ORDER BY e.id;

-- lost --
UPDATE environments SET state = 'lost', reason = %(reason)s
WHERE id = %(environment_id)s AND state IN ('creating', 'ready') RETURNING id;

-- receipt --
SELECT e.run_id, e.name AS environment, e.purpose, e.state, e.kept, r.kind, r.name, r.intended_at, r.gone_at
FROM environments e JOIN resources r ON r.environment_id = e.id
WHERE e.run_id = ANY (%(run_ids)s) ORDER BY e.id, r.kind, r.name;
