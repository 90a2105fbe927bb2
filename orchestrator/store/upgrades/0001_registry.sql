-- The registry: projects, baselines, experiments, runs, environments and their history.
-- Runs in one transaction with search_path set to the registry's schema.

CREATE TYPE run_state AS ENUM (
    'queued', 'provisioning', 'running', 'migrating', 'capturing', 'settling',
    'candidate', 'held', 'merged', 'discarded', 'failed', 'cancelled'
);
CREATE TYPE environment_state AS ENUM ('creating', 'ready', 'releasing', 'released', 'lost');
CREATE TYPE baseline_state AS ENUM ('creating', 'sealed', 'failed', 'releasing', 'released');
CREATE TYPE verdict AS ENUM ('promote', 'discard', 'hold');

CREATE TABLE installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    key_check text,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation DEFAULT VALUES;

CREATE TABLE projects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    provider text NOT NULL,
    target_conninfo text NOT NULL CHECK (target_conninfo !~* 'password\s*='),
    host_conninfo text NOT NULL CHECK (host_conninfo !~* 'password\s*='),
    max_parallel integer NOT NULL DEFAULT 4 CHECK (max_parallel BETWEEN 1 AND 256),
    ttl_seconds integer NOT NULL DEFAULT 86400 CHECK (ttl_seconds >= 60),
    pool_size integer NOT NULL DEFAULT 0 CHECK (pool_size BETWEEN 0 AND 64),
    agent_connections integer NOT NULL DEFAULT 2 CHECK (agent_connections BETWEEN 1 AND 100),
    restart_interrupted boolean NOT NULL DEFAULT true,
    redis_url text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE baselines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    number integer NOT NULL,
    label text CHECK (label ~ '^[a-z0-9][a-z0-9._-]{0,39}$'),
    name text NOT NULL UNIQUE,
    state baseline_state NOT NULL DEFAULT 'creating',
    fingerprint text,
    target_fingerprint text,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    sealed_at timestamptz,
    released_at timestamptz,
    UNIQUE (project_id, number),
    CHECK (state <> 'sealed' OR (fingerprint IS NOT NULL AND target_fingerprint IS NOT NULL))
);
CREATE UNIQUE INDEX baselines_label ON baselines (project_id, label) WHERE state IN ('creating', 'sealed');

CREATE TABLE artifacts (
    hash text PRIMARY KEY,
    kind text NOT NULL,
    size bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE artifact_chunks (
    hash text NOT NULL REFERENCES artifacts ON DELETE CASCADE,
    position integer NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (hash, position)
);
ALTER TABLE artifact_chunks ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE experiments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    handle text NOT NULL UNIQUE,
    name text NOT NULL,
    project_id bigint NOT NULL REFERENCES projects,
    baseline_id bigint NOT NULL REFERENCES baselines,
    spec jsonb NOT NULL,
    promote text NOT NULL CHECK (promote IN ('best', 'all', 'none', 'review')),
    parallel integer NOT NULL CHECK (parallel BETWEEN 1 AND 256),
    files jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(files) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    cancel_requested_at timestamptz,
    summarising_until timestamptz,
    summary_tries integer NOT NULL DEFAULT 0,
    finished_at timestamptz,
    best_run text,
    summary text
);
CREATE INDEX experiments_open ON experiments (id) WHERE finished_at IS NULL;
CREATE INDEX experiments_baseline ON experiments (baseline_id);

CREATE TABLE runs (
    id text PRIMARY KEY,
    serial bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    experiment_id bigint NOT NULL REFERENCES experiments,
    project_id bigint NOT NULL REFERENCES projects,
    variant text NOT NULL,
    repeat integer NOT NULL CHECK (repeat >= 1),
    seed bigint NOT NULL,
    state run_state NOT NULL DEFAULT 'queued',
    steps_done smallint NOT NULL DEFAULT 0 CHECK (steps_done BETWEEN 0 AND 6),
    epoch integer NOT NULL DEFAULT 0,
    step_tries integer NOT NULL DEFAULT 0,
    rescues integer NOT NULL DEFAULT 0,
    agent_starts integer NOT NULL DEFAULT 0,
    owner text,
    host text,
    process_group integer,
    lease_until timestamptz NOT NULL,
    continuation text,
    parked_at timestamptz,
    slot_held boolean NOT NULL DEFAULT false,
    ending run_state CHECK (ending IN ('failed', 'cancelled', 'discarded')),
    verdict verdict,
    reason text,
    cancel_requested_at timestamptz,
    changeset_hash text REFERENCES artifacts,
    log_hash text REFERENCES artifacts,
    baseline_fingerprint text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    agent_seconds double precision,
    notes text,
    merged_at timestamptz,
    UNIQUE (experiment_id, variant, repeat),
    CHECK (NOT (slot_held AND parked_at IS NOT NULL)),
    CHECK (NOT (slot_held AND state IN ('candidate', 'held', 'merged', 'discarded', 'failed', 'cancelled'))),
    CHECK ((finished_at IS NOT NULL) = (state IN ('merged', 'discarded', 'failed', 'cancelled'))),
    CHECK (state NOT IN ('merged', 'discarded', 'failed', 'cancelled', 'candidate', 'held')
           OR (verdict IS NOT NULL AND reason IS NOT NULL)),
    CHECK ((merged_at IS NOT NULL) = (state = 'merged'))
) WITH (fillfactor = 60);
-- A run's row changes a dozen times in its life, its continuation once: some kilobytes, kept out of the row, not packed.
ALTER TABLE runs ALTER COLUMN continuation SET STORAGE EXTERNAL;
CREATE INDEX runs_slots ON runs (project_id, experiment_id) WHERE slot_held;
CREATE INDEX runs_parked ON runs (project_id, serial) WHERE parked_at IS NOT NULL;
-- Not on lease_until, which every heartbeat moves: without an index on what it changes, an update touches no index.
CREATE INDEX runs_live ON runs (serial)
    WHERE state IN ('queued', 'provisioning', 'running', 'migrating', 'capturing', 'settling');
CREATE INDEX runs_experiment ON runs (experiment_id, state);

CREATE TABLE step_attempts (
    run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
    epoch integer NOT NULL,
    step text NOT NULL,
    worker text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    outcome text,
    reason text,
    PRIMARY KEY (run_id, epoch)
);

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text REFERENCES runs ON DELETE CASCADE,
    kind text NOT NULL,
    detail text
);
CREATE INDEX events_run ON events (run_id, id);

CREATE TABLE environments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    purpose text NOT NULL CHECK (purpose IN ('run', 'pool', 'scratch')),
    project_id bigint NOT NULL REFERENCES projects,
    baseline_id bigint NOT NULL REFERENCES baselines,
    run_id text REFERENCES runs,
    state environment_state NOT NULL DEFAULT 'creating',
    kept boolean NOT NULL DEFAULT false,
    reason text,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ready_at timestamptz,
    release_requested_at timestamptz,
    released_at timestamptz,
    CHECK ((released_at IS NOT NULL) = (state = 'released')),
    CHECK (purpose <> 'run' OR run_id IS NOT NULL)
);
CREATE INDEX environments_run ON environments (run_id);
CREATE INDEX environments_open ON environments (expires_at) WHERE state <> 'released';
CREATE INDEX environments_pool ON environments (baseline_id, id) WHERE purpose = 'pool' AND state = 'ready';

CREATE TABLE resources (
    environment_id bigint NOT NULL REFERENCES environments ON DELETE CASCADE,
    kind text NOT NULL,
    name text NOT NULL,
    intended_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz,
    PRIMARY KEY (environment_id, kind, name)
);

CREATE TABLE migrations (
    run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
    position integer NOT NULL,
    name text NOT NULL,
    original text NOT NULL,
    final text,
    applied boolean NOT NULL,
    statements integer NOT NULL,
    duration_seconds double precision NOT NULL,
    transaction_id text,
    ran text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, position),
    CHECK ((transaction_id IS NULL) = (ran IS NULL)),
    CHECK (NOT applied OR final IS NOT NULL)
);
CREATE TABLE migration_attempts (
    run_id text NOT NULL,
    position integer NOT NULL,
    number integer NOT NULL CHECK (number BETWEEN 1 AND 3),
    fixer text NOT NULL,
    sql text NOT NULL,
    sqlstate text,
    message text,
    error_position integer,
    duration_seconds double precision NOT NULL,
    tokens integer,
    cost double precision,
    PRIMARY KEY (run_id, position, number),
    FOREIGN KEY (run_id, position) REFERENCES migrations ON DELETE CASCADE
);

CREATE TABLE measurements (
    run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
    name text NOT NULL,
    value double precision,
    PRIMARY KEY (run_id, name)
);
CREATE TABLE checks (
    run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
    name text NOT NULL,
    ok boolean NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (run_id, name)
);

CREATE TABLE sweeps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome text,
    findings jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX sweeps_name ON sweeps (name, started_at);
