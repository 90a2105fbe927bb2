-- The order of columns is the table's, and leaves out inherited ones: a restored dump may place those elsewhere.
SELECT r.qualified, 'pg_class'::regclass::oid, r.oid, 0, r.relowner,
       coalesce(r.relacl, acldefault('r', r.relowner)), NULL::oid,
       jsonb_build_object(
         'kind', r.relkind,
         'persistence', r.relpersistence,
         'access_method', (SELECT a.amname FROM pg_am a WHERE a.oid = r.relam),
         'tablespace', (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = r.reltablespace),
         'options', (SELECT array_agg(o ORDER BY o COLLATE "C") FROM unnest(r.reloptions) o),
         'toast_options', (
           SELECT array_agg(o ORDER BY o COLLATE "C")
           FROM pg_class x, unnest(x.reloptions) o WHERE x.oid = r.reltoastrelid),
         'replica_identity', r.relreplident,
         'row_security', r.relrowsecurity,
         'force_row_security', r.relforcerowsecurity,
         'of_type', CASE WHEN r.reloftype <> 0 THEN format_type(r.reloftype, NULL) END,
         'inherits', (
           SELECT array_agg(i.inhparent::regclass::text ORDER BY i.inhseqno)
           FROM pg_inherits i WHERE i.inhrelid = r.oid),
         'detach_pending', (
           SELECT true FROM pg_inherits i WHERE i.inhrelid = r.oid AND i.inhdetachpending),
         'partition_bound', pg_get_expr(r.relpartbound, r.oid),
         'partition_key', pg_get_partkeydef(r.oid),
         'server', (
           SELECT s.srvname FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
           WHERE f.ftrelid = r.oid),
         'server_options', (SELECT f.ftoptions FROM pg_foreign_table f WHERE f.ftrelid = r.oid),
         'columns', (
           SELECT array_agg(a.attname::text ORDER BY a.attnum)
           FROM pg_attribute a
           WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
             AND (a.attinhcount = 0 OR r.relispartition)))
FROM relations r
WHERE r.relkind IN ('r', 'p', 'f')
