-- Types with input and output functions of their own, and shell types; array types come with their elements.
SELECT t.oid::regtype::text, 'pg_type'::regclass::oid, t.oid, 0, t.typowner,
       coalesce(t.typacl, acldefault('T', t.typowner)), NULL::oid,
       jsonb_build_object(
         'defined', t.typisdefined,
         'functions', jsonb_build_array(
           t.typinput::text, t.typoutput::text, t.typreceive::text, t.typsend::text,
           t.typmodin::text, t.typmodout::text, t.typanalyze::text, t.typsubscript::text),
         'layout', jsonb_build_array(t.typlen, t.typbyval, t.typalign, t.typstorage, t.typdelim),
         'category', jsonb_build_array(t.typcategory, t.typispreferred),
         'element', CASE WHEN t.typelem <> 0 THEN format_type(t.typelem, NULL) END,
         'default', t.typdefault,
         'collatable', t.typcollation <> 0)
FROM pg_type t
JOIN spaces s ON s.oid = t.typnamespace
WHERE t.typtype IN ('b', 'p')
  AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
