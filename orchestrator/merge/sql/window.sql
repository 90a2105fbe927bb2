-- Between which moments the migrations ran, in microseconds since 1970: as moments, then as what the clock on the wall
-- showed in their session's time zone. Numbers, because a session may print dates in any way.
SELECT (extract(epoch FROM pg_catalog.transaction_timestamp()) * 1000000)::int8,
       (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8,
       (extract(epoch FROM pg_catalog.transaction_timestamp()::timestamp) * 1000000)::int8,
       (extract(epoch FROM pg_catalog.clock_timestamp()::timestamp) * 1000000)::int8
