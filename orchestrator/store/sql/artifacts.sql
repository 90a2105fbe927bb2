-- Content-hashed blobs in chunks.

-- insert --
INSERT INTO artifacts (hash, kind, size) VALUES (%(hash)s, %(kind)s, %(size)s) ON CONFLICT (hash) DO NOTHING RETURNING hash;

-- insert_chunk --
INSERT INTO artifact_chunks (hash, position, body) VALUES (%(hash)s, %(position)s, %(body)s);

-- chunks --
SELECT body FROM artifact_chunks WHERE hash = %(hash)s ORDER BY position;

-- prune --
WITH pruned AS (
    DELETE FROM artifacts a
    WHERE a.created_at < now() - make_interval(days => %(days)s)
      AND NOT EXISTS (SELECT FROM runs r WHERE r.changeset_hash = a.hash OR r.log_hash = a.hash)
      AND NOT EXISTS (SELECT FROM experiments e, jsonb_each_text(e.files) f WHERE f.value = a.hash)
    RETURNING a.hash
)
SELECT count(*) AS pruned FROM pruned;
