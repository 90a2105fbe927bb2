SELECT n.nspname, c.relname, q.seqincrement
FROM pg_sequence q
JOIN pg_class c ON c.oid = q.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't'
  AND n.nspname <> 'information_schema'
  AND left(n.nspname, 3) <> 'pg_'
  AND n.nspname <> ALL (%(ignored)s::text[])
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
