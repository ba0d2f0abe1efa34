-- The ledger on PostgreSQL. Sequences are identities, ids 16-byte blobs, digests 32-byte blobs, times
-- milliseconds since 1970 UTC, states the numbers of snodo_core::message_state::DeliveryState.

CREATE TABLE message (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id BYTEA NOT NULL UNIQUE,
  party TEXT, source TEXT, sender_id TEXT,  -- the idempotency key, of an accepted message only
  digest BYTEA,
  cause BIGINT,                            -- the delivery whose route emitted it
  attributes TEXT NOT NULL,                 -- the envelope, JSON
  accepted_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX message_key ON message (party, source, sender_id) WHERE sender_id IS NOT NULL;
CREATE INDEX message_cause ON message (cause) WHERE cause IS NOT NULL;

CREATE TABLE body (
  seq BIGINT PRIMARY KEY REFERENCES message (seq),
  data BYTEA NOT NULL
);

CREATE TABLE delivery (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id BYTEA NOT NULL UNIQUE,
  message BIGINT NOT NULL REFERENCES message (seq),
  subscriber TEXT NOT NULL,
  route_digest BYTEA NOT NULL,
  state SMALLINT NOT NULL,
  round BIGINT NOT NULL,
  incarnation BIGINT, serial BIGINT,      -- the fence, where claimed
  lease_until BIGINT,
  publisher BIGINT,                        -- the incarnation that holds it for publishing
  steps BIGINT NOT NULL DEFAULT 0,
  attempts BIGINT NOT NULL DEFAULT 0,
  crashes BIGINT NOT NULL DEFAULT 0,
  suspect SMALLINT NOT NULL DEFAULT 0,
  fault TEXT,
  next_at BIGINT,
  give_up_at BIGINT,
  created_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL
);
CREATE INDEX delivery_message ON delivery (message);
CREATE INDEX delivery_work ON delivery (state, subscriber, seq) WHERE state < 7;
CREATE INDEX delivery_claimed ON delivery (incarnation) WHERE state = 2;
CREATE INDEX delivery_due ON delivery (next_at) WHERE state = 3;

CREATE TABLE intent (
  delivery BIGINT NOT NULL REFERENCES delivery (seq),
  step TEXT NOT NULL,
  incarnation BIGINT NOT NULL, serial BIGINT NOT NULL,
  deadline BIGINT NOT NULL,
  settles_within BIGINT NOT NULL,
  stopped_at BIGINT,
  PRIMARY KEY (delivery, step)
);
CREATE INDEX intent_unstopped ON intent (incarnation) WHERE stopped_at IS NULL;

CREATE TABLE step_done (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  delivery BIGINT NOT NULL REFERENCES delivery (seq),
  step TEXT NOT NULL,
  operation TEXT NOT NULL,
  result TEXT NOT NULL,
  route_digest BYTEA NOT NULL,
  reference TEXT,
  request_digest BYTEA, answer_digest BYTEA,
  done_at BIGINT NOT NULL,
  UNIQUE (delivery, step)
);
CREATE INDEX step_reference ON step_done (reference) WHERE reference IS NOT NULL;

CREATE TABLE chain (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  n BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  head BYTEA NOT NULL
);
CREATE TABLE batch (
  chain BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  previous BYTEA NOT NULL,
  PRIMARY KEY (chain, batch)
);
CREATE TABLE event (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  chain BIGINT NOT NULL,
  n BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  digest BYTEA NOT NULL,
  hash BYTEA NOT NULL,
  UNIQUE (chain, n)
);
CREATE INDEX event_subject ON event (subject);

CREATE TABLE delivery_total (
  subscriber TEXT NOT NULL,
  bucket SMALLINT NOT NULL,
  n BIGINT NOT NULL,
  gone BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (subscriber, bucket)
);
CREATE TABLE message_total (
  source TEXT NOT NULL,
  bucket TEXT NOT NULL,
  n BIGINT NOT NULL,
  PRIMARY KEY (source, bucket)
);

CREATE TABLE counter (
  aoo TEXT PRIMARY KEY,
  year BIGINT NOT NULL,
  last BIGINT NOT NULL,
  at BIGINT NOT NULL
);
CREATE TABLE register (
  aoo TEXT NOT NULL,
  year BIGINT NOT NULL,
  n BIGINT NOT NULL,
  delivery BIGINT NOT NULL,
  step TEXT NOT NULL,
  direction TEXT NOT NULL,
  subject TEXT NOT NULL,
  record TEXT NOT NULL,
  registered_at BIGINT NOT NULL,
  annulled_at BIGINT,
  annul_reason TEXT,
  PRIMARY KEY (aoo, year, n)
);
CREATE UNIQUE INDEX register_step ON register (delivery, step);
CREATE TABLE lookup (
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  message BIGINT NOT NULL,
  PRIMARY KEY (kind, value, message)
);

CREATE TABLE route_version (
  digest BYTEA PRIMARY KEY,
  route TEXT NOT NULL,
  bundle TEXT NOT NULL
);

CREATE TABLE incarnation (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  slot TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  unclean_up_to BIGINT,
  ended_at BIGINT,
  dead_actor TEXT, dead_reason TEXT
);

CREATE TABLE stray (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id BYTEA,
  queue TEXT NOT NULL,
  headers TEXT NOT NULL,
  body BYTEA NOT NULL,
  seen_at BIGINT NOT NULL,
  settled_at BIGINT
);
CREATE INDEX stray_open ON stray (seq) WHERE settled_at IS NULL;

CREATE TABLE source_cursor (
  instance TEXT NOT NULL,
  part TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (instance, part)
);
