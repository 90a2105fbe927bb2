-- Projects, their baselines, the installation.

-- installation --
SELECT id::text AS id, key_check, extract(epoch FROM now() - created_at) AS age_seconds FROM installation;

-- set_key_check --
UPDATE installation SET key_check = %(key_check)s WHERE key_check IS NULL;

-- insert --
INSERT INTO projects (name, provider, target_conninfo, host_conninfo, max_parallel, ttl_seconds, pool_size,
                      agent_connections, restart_interrupted, redis_url)
VALUES (%(name)s, %(provider)s, %(target_conninfo)s, %(host_conninfo)s, %(max_parallel)s, %(ttl_seconds)s, %(pool_size)s,
        %(agent_connections)s, %(restart_interrupted)s, %(redis_url)s)
ON CONFLICT (name) DO UPDATE
SET provider = excluded.provider, target_conninfo = excluded.target_conninfo, host_conninfo = excluded.host_conninfo,
    max_parallel = excluded.max_parallel, ttl_seconds = excluded.ttl_seconds, pool_size = excluded.pool_size,
    agent_connections = excluded.agent_connections, restart_interrupted = excluded.restart_interrupted,
    redis_url = excluded.redis_url
RETURNING *;

-- get --
SELECT * FROM projects WHERE name = %(name)s;

-- by_id --
SELECT * FROM projects WHERE id = %(project_id)s;

-- all --
SELECT * FROM projects ORDER BY name;

-- lock --
SELECT id FROM projects WHERE id = %(project_id)s FOR NO KEY UPDATE;

-- insert_baseline --
WITH next AS (
    SELECT nextval(pg_get_serial_sequence('baselines', 'id')) AS id FROM projects WHERE id = %(project_id)s
)
INSERT INTO baselines (id, project_id, number, label, name)
OVERRIDING SYSTEM VALUE
SELECT next.id, %(project_id)s,
       coalesce((SELECT max(number) FROM baselines WHERE project_id = %(project_id)s), 0) + 1,
       %(label)s, %(prefix)s || next.id
FROM next RETURNING *;

-- seal_baseline --
UPDATE baselines
SET state = 'sealed', fingerprint = %(fingerprint)s, target_fingerprint = %(target_fingerprint)s, sealed_at = now()
WHERE id = %(baseline_id)s AND state = 'creating' RETURNING *;

-- fail_baseline --
UPDATE baselines SET state = 'failed', reason = %(reason)s
WHERE id = %(baseline_id)s AND state = 'creating' RETURNING id;

-- lock_baseline --
SELECT id FROM baselines WHERE id = %(baseline_id)s FOR UPDATE;

-- take_baseline_for_release --
UPDATE baselines b SET state = 'releasing', reason = %(reason)s
WHERE b.id = %(baseline_id)s AND b.state IN ('sealed', 'failed', 'creating', 'releasing')
  AND NOT EXISTS (SELECT FROM experiments e WHERE e.baseline_id = b.id AND e.finished_at IS NULL)
  AND NOT EXISTS (SELECT FROM environments v WHERE v.baseline_id = b.id AND v.state <> 'released')
  AND NOT EXISTS (SELECT FROM runs r JOIN experiments e ON e.id = r.experiment_id
                  WHERE e.baseline_id = b.id AND r.state IN ('candidate', 'held'))
RETURNING *;

-- baseline_users --
SELECT 'experiment ' || e.handle AS who FROM experiments e
WHERE e.baseline_id = %(baseline_id)s AND e.finished_at IS NULL
UNION
SELECT r.state || ' run ' || r.id FROM runs r JOIN experiments e ON e.id = r.experiment_id
WHERE e.baseline_id = %(baseline_id)s AND r.state IN ('candidate', 'held')
UNION
SELECT CASE WHEN v.run_id IS NULL THEN 'the pool of ready forks' ELSE 'the fork of run ' || v.run_id END
FROM environments v WHERE v.baseline_id = %(baseline_id)s AND v.state <> 'released'
ORDER BY 1;

-- baseline_released --
UPDATE baselines SET state = 'released', released_at = now()
WHERE id = %(baseline_id)s AND state = 'releasing' RETURNING id;

-- baseline --
SELECT * FROM baselines WHERE id = %(baseline_id)s;

-- find_baseline --
SELECT * FROM baselines
WHERE project_id = %(project_id)s AND state = 'sealed'
  AND (%(wanted)s = 'latest' OR number::text = %(wanted)s OR label = %(wanted)s)
ORDER BY number DESC LIMIT 1;

-- baselines --
SELECT b.*, (SELECT count(*) FROM experiments e WHERE e.baseline_id = b.id AND e.finished_at IS NULL) AS in_use
FROM baselines b WHERE b.project_id = %(project_id)s ORDER BY b.number;

-- baselines_by_name --
SELECT * FROM baselines WHERE name = ANY (%(names)s);

-- unfinished_baselines --
SELECT * FROM baselines
WHERE (state = 'creating' AND created_at < now() - make_interval(secs => %(older_than_seconds)s))
   OR state IN ('failed', 'releasing') ORDER BY id LIMIT %(limit)s;
