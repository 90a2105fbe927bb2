CREATE SCHEMA IF NOT EXISTS forkyard;
CREATE TABLE IF NOT EXISTS forkyard.merges (
    installation uuid NOT NULL,
    run_id text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('merged', 'closed')),
    changeset_hash text CHECK (outcome = 'closed' OR changeset_hash IS NOT NULL),
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (installation, run_id)
);
COMMENT ON TABLE forkyard.merges IS 'Forkyard: which runs were merged into this database, or never may be.'
