-- One of everything that a schema can hold and that an ordinary owner may make.
CREATE SCHEMA shop;
CREATE SCHEMA "Odd Schema";
COMMENT ON SCHEMA shop IS 'a shop';
CREATE TYPE shop.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE shop.pair AS (a int, b text COLLATE "C");
CREATE TYPE shop.span AS RANGE (subtype = float8);
CREATE DOMAIN shop.email AS text COLLATE "C" DEFAULT 'nobody@example.com' CHECK (VALUE ~ '@');
CREATE DOMAIN shop.needed AS int NOT NULL;
CREATE SEQUENCE shop.numbers START 100 INCREMENT 5;
CREATE TABLE shop.customers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  gone int,
  name varchar(80) NOT NULL,
  email shop.email UNIQUE,
  mood shop.mood DEFAULT 'ok',
  score numeric(10, 2) CHECK (score >= 0),
  doubled numeric GENERATED ALWAYS AS (score * 2) STORED,
  document text COMPRESSION pglz,
  created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 90, toast.autovacuum_enabled = false);
ALTER TABLE shop.customers DROP COLUMN gone;
ALTER TABLE shop.customers ALTER name SET STATISTICS 500, ALTER document SET STORAGE EXTERNAL;
COMMENT ON TABLE shop.customers IS 'people';
COMMENT ON COLUMN shop.customers.name IS 'in full';
CREATE TABLE shop.orders (
  id serial PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES shop.customers ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
  placed_on date NOT NULL,
  during int4range,
  total numeric DEFAULT 0
);
CREATE TABLE shop.events (id int, at date NOT NULL, customer_id bigint REFERENCES shop.customers, PRIMARY KEY (id, at))
  PARTITION BY RANGE (at);
CREATE TABLE shop.events_2024 PARTITION OF shop.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE shop.events_other PARTITION OF shop.events DEFAULT;
CREATE TABLE shop.parent (id int NOT NULL, note text CHECK (note <> ''));
CREATE TABLE shop.child (extra int) INHERITS (shop.parent);
ALTER TABLE shop.parent ADD late int DEFAULT 7;
CREATE UNLOGGED TABLE shop.scratch (a int, b int);
CREATE TABLE shop.typed OF shop.pair (PRIMARY KEY (a));
CREATE TABLE "Odd Schema"."Tab ""le" ("Col umn" int, "ключ" text);
CREATE INDEX customers_name ON shop.customers (lower(name) text_pattern_ops) WHERE mood <> 'sad';
CREATE INDEX orders_customer ON shop.orders USING btree (customer_id DESC) INCLUDE (total);
CREATE INDEX events_at ON shop.events (at);
ALTER TABLE shop.orders ADD CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&);
CREATE STATISTICS shop.customers_stats (dependencies) ON name, mood FROM shop.customers;
CREATE VIEW shop.happy WITH (security_barrier) AS SELECT id, name FROM shop.customers WHERE mood = 'happy';
CREATE VIEW shop.recent AS SELECT * FROM shop.happy WHERE id > 10 WITH LOCAL CHECK OPTION;
CREATE MATERIALIZED VIEW shop.totals AS SELECT customer_id, sum(total) AS total FROM shop.orders GROUP BY 1;
CREATE UNIQUE INDEX totals_customer ON shop.totals (customer_id);
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.created_at := now(); RETURN NEW; END$$;
CREATE FUNCTION shop.add(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE RETURN a + b;
CREATE PROCEDURE shop.work() LANGUAGE plpgsql AS $$BEGIN NULL; END$$;
CREATE AGGREGATE shop.product (numeric) (sfunc = numeric_mul, stype = numeric, initcond = '1');
CREATE TRIGGER touch BEFORE UPDATE ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE RULE no_delete AS ON DELETE TO shop.scratch DO INSTEAD NOTHING;
CREATE FUNCTION shop.mood_eq(shop.mood, text) RETURNS bool LANGUAGE sql AS $$SELECT $1::text = $2$$;
CREATE OPERATOR shop.=== (LEFTARG = shop.mood, RIGHTARG = text, FUNCTION = shop.mood_eq);
CREATE FUNCTION shop.mood_number(shop.mood) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT 1$$;
CREATE CAST (shop.mood AS int) WITH FUNCTION shop.mood_number(shop.mood);
CREATE COLLATION shop.plain (provider = libc, locale = 'C');
CREATE TEXT SEARCH DICTIONARY shop.words (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION shop.search (COPY = simple);
CREATE CONVERSION shop.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.customers FOR SELECT TO PUBLIC USING (name = current_user);
GRANT SELECT (id, name) ON shop.customers TO PUBLIC;
GRANT SELECT ON shop.orders TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO PUBLIC;
CREATE PUBLICATION feed FOR TABLE shop.orders WHERE (total > 5);
INSERT INTO shop.customers (name, email) SELECT 'n' || g, g || '@example.com' FROM generate_series(1, 20) g;
INSERT INTO shop.orders (customer_id, placed_on) SELECT g, '2024-05-01' FROM generate_series(1, 20) g;
