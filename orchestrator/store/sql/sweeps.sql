-- The record of sweeps, and the lock that makes a second sweeper harmless.

-- try_lock --
SELECT pg_try_advisory_xact_lock(hashtextextended('forkyard sweep ' || %(name)s, 0)) AS locked;

-- insert --
INSERT INTO sweeps (name, finished_at, outcome, findings, started_at)
VALUES (%(name)s, now(), %(outcome)s, %(findings)s, %(started_at)s);

-- last --
SELECT DISTINCT ON (name) name, started_at, finished_at, outcome, findings,
       extract(epoch FROM now() - finished_at) AS age_seconds
FROM sweeps ORDER BY name, id DESC;

-- prune --
WITH pruned AS (
    DELETE FROM sweeps WHERE started_at < now() - make_interval(days => %(days)s) RETURNING id
)
SELECT count(*) AS pruned FROM pruned;
