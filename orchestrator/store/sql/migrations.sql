-- The ledger of a run's migrations, with every attempt.

-- clear --
DELETE FROM migrations WHERE run_id = %(run_id)s;

-- insert --
INSERT INTO migrations (run_id, position, name, original, final, applied, statements, duration_seconds)
VALUES (%(run_id)s, %(position)s, %(name)s, %(original)s, %(final)s, %(applied)s, %(statements)s, %(duration_seconds)s)
ON CONFLICT (run_id, position) DO UPDATE
SET name = excluded.name, original = excluded.original, final = excluded.final, applied = excluded.applied,
    statements = excluded.statements, duration_seconds = excluded.duration_seconds;

-- about_to_commit --
UPDATE migrations SET transaction_id = %(transaction_id)s, ran = %(ran)s
WHERE run_id = %(run_id)s AND position = %(position)s;

-- was_committed --
UPDATE migrations SET applied = true, final = ran WHERE run_id = %(run_id)s AND position = %(position)s;

-- clear_attempts --
DELETE FROM migration_attempts WHERE run_id = %(run_id)s AND position = %(position)s;

-- insert_attempt --
INSERT INTO migration_attempts
    (run_id, position, number, fixer, sql, sqlstate, message, error_position, duration_seconds, tokens, cost)
VALUES (%(run_id)s, %(position)s, %(number)s, %(fixer)s, %(sql)s, %(sqlstate)s, %(message)s, %(error_position)s,
        %(duration_seconds)s, %(tokens)s, %(cost)s);

-- of_run --
SELECT * FROM migrations WHERE run_id = %(run_id)s ORDER BY position;

-- attempts_of_run --
SELECT * FROM migration_attempts WHERE run_id = %(run_id)s ORDER BY position, number;

-- counts --
SELECT m.run_id, count(*) AS migrations,
       coalesce(sum(greatest(a.attempts - 1, 0)), 0) AS fix_attempts
FROM migrations m
LEFT JOIN LATERAL (SELECT count(*) AS attempts FROM migration_attempts t
                   WHERE t.run_id = m.run_id AND t.position = m.position) a ON true
WHERE m.run_id = ANY (%(run_ids)s) GROUP BY m.run_id;
