-- The ledger on SQLite. Sequences are rowids, ids 16-byte blobs, digests 32-byte blobs, times
-- milliseconds since 1970 UTC, states the numbers of snodo_core::message_state::DeliveryState.

CREATE TABLE message (
  seq INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  party TEXT, source TEXT, sender_id TEXT,  -- the idempotency key, of an accepted message only
  digest BLOB,
  cause INTEGER,                            -- the delivery whose route emitted it
  attributes TEXT NOT NULL,                 -- the envelope, JSON
  accepted_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX message_key ON message (party, source, sender_id) WHERE sender_id IS NOT NULL;
CREATE INDEX message_cause ON message (cause) WHERE cause IS NOT NULL;

CREATE TABLE body (
  seq INTEGER PRIMARY KEY REFERENCES message (seq),
  data BLOB NOT NULL
);

CREATE TABLE delivery (
  seq INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  message INTEGER NOT NULL REFERENCES message (seq),
  subscriber TEXT NOT NULL,
  route_digest BLOB NOT NULL,
  state INTEGER NOT NULL,
  round INTEGER NOT NULL,
  incarnation INTEGER, serial INTEGER,      -- the fence, where claimed
  lease_until INTEGER,
  publisher INTEGER,                        -- the incarnation that holds it for publishing
  steps INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0,
  suspect INTEGER NOT NULL DEFAULT 0,
  fault TEXT,
  next_at INTEGER,
  give_up_at INTEGER,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
);
CREATE INDEX delivery_message ON delivery (message);
CREATE INDEX delivery_work ON delivery (state, subscriber, seq) WHERE state < 7;
CREATE INDEX delivery_claimed ON delivery (incarnation) WHERE state = 2;
CREATE INDEX delivery_due ON delivery (next_at) WHERE state = 3;

CREATE TABLE intent (
  delivery INTEGER NOT NULL REFERENCES delivery (seq),
  step TEXT NOT NULL,
  incarnation INTEGER NOT NULL, serial INTEGER NOT NULL,
  deadline INTEGER NOT NULL,
  settles_within INTEGER NOT NULL,
  stopped_at INTEGER,
  PRIMARY KEY (delivery, step)
) WITHOUT ROWID;
CREATE INDEX intent_unstopped ON intent (incarnation) WHERE stopped_at IS NULL;

CREATE TABLE step_done (
  seq INTEGER PRIMARY KEY,
  delivery INTEGER NOT NULL REFERENCES delivery (seq),
  step TEXT NOT NULL,
  operation TEXT NOT NULL,
  result TEXT NOT NULL,
  route_digest BLOB NOT NULL,
  reference TEXT,
  request_digest BLOB, answer_digest BLOB,
  done_at INTEGER NOT NULL,
  UNIQUE (delivery, step)
);
CREATE INDEX step_reference ON step_done (reference) WHERE reference IS NOT NULL;

CREATE TABLE chain (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  n INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  head BLOB NOT NULL
);
CREATE TABLE batch (
  chain INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  previous BLOB NOT NULL,
  PRIMARY KEY (chain, batch)
) WITHOUT ROWID;
CREATE TABLE event (
  seq INTEGER PRIMARY KEY,
  chain INTEGER NOT NULL,
  n INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  digest BLOB NOT NULL,
  hash BLOB NOT NULL,
  UNIQUE (chain, n)
);
CREATE INDEX event_subject ON event (subject);

CREATE TABLE delivery_total (
  subscriber TEXT NOT NULL,
  bucket INTEGER NOT NULL,
  n INTEGER NOT NULL,
  gone INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (subscriber, bucket)
) WITHOUT ROWID;
CREATE TABLE message_total (
  source TEXT NOT NULL,
  bucket TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (source, bucket)
) WITHOUT ROWID;

CREATE TABLE counter (
  aoo TEXT PRIMARY KEY,
  year INTEGER NOT NULL,
  last INTEGER NOT NULL,
  at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE register (
  aoo TEXT NOT NULL,
  year INTEGER NOT NULL,
  n INTEGER NOT NULL,
  delivery INTEGER NOT NULL,
  step TEXT NOT NULL,
  direction TEXT NOT NULL,
  subject TEXT NOT NULL,
  record TEXT NOT NULL,
  registered_at INTEGER NOT NULL,
  annulled_at INTEGER,
  annul_reason TEXT,
  PRIMARY KEY (aoo, year, n)
) WITHOUT ROWID;
CREATE UNIQUE INDEX register_step ON register (delivery, step);
CREATE TABLE lookup (
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  message INTEGER NOT NULL,
  PRIMARY KEY (kind, value, message)
) WITHOUT ROWID;

CREATE TABLE route_version (
  digest BLOB PRIMARY KEY,
  route TEXT NOT NULL,
  bundle TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE incarnation (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  slot TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  unclean_up_to INTEGER,
  ended_at INTEGER,
  dead_actor TEXT, dead_reason TEXT
);

CREATE TABLE stray (
  seq INTEGER PRIMARY KEY,
  id BLOB,
  queue TEXT NOT NULL,
  headers TEXT NOT NULL,
  body BLOB NOT NULL,
  seen_at INTEGER NOT NULL,
  settled_at INTEGER
);
CREATE INDEX stray_open ON stray (seq) WHERE settled_at IS NULL;

CREATE TABLE source_cursor (
  instance TEXT NOT NULL,
  part TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (instance, part)
) WITHOUT ROWID;
