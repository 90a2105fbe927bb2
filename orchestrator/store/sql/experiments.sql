-- Experiments and their summary.

-- handles --
SELECT count(*) AS used FROM experiments WHERE name = %(name)s;

-- lock_name --
SELECT pg_advisory_xact_lock(hashtextextended('forkyard experiment ' || %(name)s, 0));

-- insert --
INSERT INTO experiments (handle, name, project_id, baseline_id, spec, promote, parallel, files)
SELECT %(handle)s, %(name)s, %(project_id)s, b.id, %(spec)s, %(promote)s, %(parallel)s, %(files)s
FROM baselines b WHERE b.id = %(baseline_id)s AND b.state = 'sealed' FOR KEY SHARE
RETURNING *;

-- get --
SELECT * FROM experiments WHERE id = %(experiment_id)s;

-- by_handle --
SELECT * FROM experiments WHERE handle = %(handle)s;

-- recent --
SELECT e.*, p.name AS project,
       (SELECT count(*) FROM runs r WHERE r.experiment_id = e.id) AS runs,
       (SELECT count(*) FROM runs r WHERE r.experiment_id = e.id AND r.finished_at IS NOT NULL) AS finished_runs
FROM experiments e JOIN projects p ON p.id = e.project_id ORDER BY e.id DESC LIMIT %(limit)s;

-- claim_summary --
UPDATE experiments e
SET summarising_until = now() + interval '60 seconds', summary_tries = summary_tries + 1
WHERE e.id = %(experiment_id)s AND e.finished_at IS NULL
  AND (e.summarising_until IS NULL OR e.summarising_until < clock_timestamp())
  AND NOT EXISTS (SELECT FROM runs r WHERE r.experiment_id = e.id
                  AND r.state IN ('queued', 'provisioning', 'running', 'migrating', 'capturing', 'settling'))
RETURNING *;

-- release_summary --
UPDATE experiments SET summarising_until = NULL WHERE id = %(experiment_id)s;

-- choose --
UPDATE experiments SET best_run = %(best_run)s, summary = %(summary)s
WHERE id = %(experiment_id)s AND finished_at IS NULL AND best_run IS NULL RETURNING id;

-- finish --
UPDATE experiments SET finished_at = now(), summary = coalesce(%(summary)s, summary), summarising_until = NULL
WHERE id = %(experiment_id)s AND finished_at IS NULL RETURNING id;

-- request_cancel --
UPDATE experiments SET cancel_requested_at = coalesce(cancel_requested_at, now())
WHERE id = %(experiment_id)s AND finished_at IS NULL RETURNING id;

-- unsummarised --
SELECT e.id FROM experiments e
WHERE e.finished_at IS NULL AND (e.summarising_until IS NULL OR e.summarising_until < clock_timestamp())
  AND NOT EXISTS (SELECT FROM runs r WHERE r.experiment_id = e.id
                  AND r.state IN ('queued', 'provisioning', 'running', 'migrating', 'capturing', 'settling'))
  AND e.created_at < now() - interval '10 seconds'
ORDER BY e.id LIMIT %(limit)s;
