-- Whole rows, because the columns differ between server versions; the library's version is not schema.
SELECT c.oid::regcollation::text || CASE c.collencoding WHEN -1 THEN '' ELSE '/' || c.collencoding END,
       'pg_collation'::regclass::oid, c.oid, 0, c.collowner, NULL::aclitem[], NULL::oid,
       to_jsonb(c) - '{oid,collname,collnamespace,collowner,collversion}'::text[]
FROM pg_collation c
JOIN spaces s ON s.oid = c.collnamespace
