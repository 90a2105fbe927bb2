SELECT i.indexrelid::regclass::text, 'pg_class'::regclass::oid, i.indexrelid, 0, NULL::oid, NULL::aclitem[],
       NULL::oid,
       jsonb_build_object(
         'definition', pg_get_indexdef(i.indexrelid),
         'valid', i.indisvalid,
         'clustered', i.indisclustered,
         'replica_identity', i.indisreplident,
         'tablespace', (
           SELECT t.spcname FROM pg_class x JOIN pg_tablespace t ON t.oid = x.reltablespace
           WHERE x.oid = i.indexrelid),
         'partition_of', (
           SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = i.indexrelid),
         'statistics', (
           SELECT jsonb_object_agg(a.attnum, a.attstattarget)
           FROM pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0))
FROM pg_index i
JOIN relations r ON r.oid = i.indrelid
