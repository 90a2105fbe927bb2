-- The names a migration can use, as one JSON value: no row data, nothing that is not visible in the catalog.
SELECT pg_catalog.json_build_object(
    'search_path', pg_catalog.current_schemas(false),
    'schemas', (
        SELECT pg_catalog.json_agg(n.nspname)
        FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ),
    'tables', (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
            'columns', (
                SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                    'name', a.attname,
                    'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                    'not_null', a.attnotnull,
                    'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
                    'special', a.attidentity <> '' OR a.attgenerated <> ''
                ) ORDER BY a.attnum)
                FROM pg_catalog.pg_attribute AS a
                LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            ),
            'constraints', (
                SELECT pg_catalog.json_object_agg(k.conname, pg_catalog.pg_get_constraintdef(k.oid))
                FROM pg_catalog.pg_constraint AS k
                WHERE k.conrelid = c.oid
            ),
            'indexes', (
                SELECT pg_catalog.json_object_agg(ic.relname, pg_catalog.pg_get_indexdef(i.indexrelid))
                FROM pg_catalog.pg_index AS i
                JOIN pg_catalog.pg_class AS ic ON ic.oid = i.indexrelid
                WHERE i.indrelid = c.oid
            )
        ))
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ),
    'functions', (
        SELECT pg_catalog.json_agg(DISTINCT p.proname)
        FROM pg_catalog.pg_proc AS p
        JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ),
    'types', (
        SELECT pg_catalog.json_agg(DISTINCT t.typname)
        FROM pg_catalog.pg_type AS t
        JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
        LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND t.typcategory <> 'A' AND (c.oid IS NULL OR c.relkind = 'c')
    ),
    'extensions', (SELECT pg_catalog.json_agg(e.extname) FROM pg_catalog.pg_extension AS e)
)
