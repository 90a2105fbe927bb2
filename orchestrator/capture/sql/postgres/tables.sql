-- Every table that holds rows of its own, a partitioned one by its root: columns without the generated ones, the
-- keys under which rows can be told apart (the primary key first), size in pages, foreign partitions.
-- Left out: an extension's table that the current role can neither read nor write.
SELECT n.nspname, c.relname, c.relkind = 'p',
       (SELECT coalesce(json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod))
                                 ORDER BY a.attnum), '[]')
        FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
       (SELECT coalesce(json_agg(k.columns ORDER BY i.indisprimary DESC, i.indnkeyatts, x.relname COLLATE "C"),
                        '[]')
        FROM pg_index i
        JOIN pg_class x ON x.oid = i.indexrelid
        CROSS JOIN LATERAL (
          SELECT json_agg(a.attname ORDER BY p.position) AS columns,
                 count(a.attname) AS usable
          FROM generate_series(0, i.indnkeyatts - 1) AS p(position)
          LEFT JOIN pg_attribute a
            ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p.position] AND a.attnum > 0
           AND a.attnotnull AND a.attgenerated = ''
           AND NOT EXISTS (
             SELECT FROM pg_constraint o
             WHERE o.conrelid = i.indrelid AND o.contype = 'n' AND NOT o.convalidated
               AND a.attnum = ANY (o.conkey))) k
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indislive
          AND i.indpred IS NULL AND i.indexprs IS NULL AND k.usable = i.indnkeyatts),
       CASE c.relkind
         WHEN 'p' THEN (SELECT coalesce(sum(pg_relation_size(t.relid)), 0) FROM pg_partition_tree(c.oid) t)
         ELSE pg_relation_size(c.oid)
       END::int8 / current_setting('block_size')::int8,
       (SELECT t.relid::regclass::text
        FROM pg_partition_tree(c.oid) t JOIN pg_class f ON f.oid = t.relid
        WHERE f.relkind = 'f' LIMIT 1)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema'
  AND left(n.nspname, 3) <> 'pg_'
  AND n.nspname <> ALL (%(ignored)s::text[])
  AND (has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
       OR NOT EXISTS (
         SELECT FROM pg_depend d
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
