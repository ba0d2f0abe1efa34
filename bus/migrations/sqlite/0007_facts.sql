-- Facts (design §7): questions that were put to authorities, what is known of whom and until when, and what
-- was used of whom for what. Persons are keyed hashes; the key is not in here.

CREATE TABLE authority (
  instance TEXT NOT NULL PRIMARY KEY,
  last INTEGER NOT NULL                     -- the number of the last question
);

CREATE TABLE quota (
  instance TEXT NOT NULL,
  operation TEXT NOT NULL,
  day TEXT NOT NULL,                       -- in Italy, 2026-09-14
  asked INTEGER NOT NULL,                   -- questions that were put
  PRIMARY KEY (instance, operation, day)
);

CREATE TABLE question (
  instance TEXT NOT NULL,
  number INTEGER NOT NULL,
  fact TEXT NOT NULL,
  about BLOB NOT NULL,                    -- everything that it says, keyed
  purpose TEXT NOT NULL,
  case_reference TEXT NOT NULL,
  asked_at INTEGER NOT NULL,                -- first
  delivery INTEGER NOT NULL,                -- who asks, under which fence, while it is open
  incarnation INTEGER NOT NULL, serial INTEGER NOT NULL,
  outdated INTEGER NOT NULL DEFAULT 0,      -- something has changed while it was open
  answered_at INTEGER,
  answer TEXT,
  value TEXT,                              -- the parts that are read under the purpose
  parts TEXT,
  digest BLOB,                            -- of the whole answer
  fresh_until INTEGER,
  PRIMARY KEY (instance, number)
);
CREATE UNIQUE INDEX question_open ON question (fact, about, purpose) WHERE answered_at IS NULL;
CREATE INDEX question_known ON question (fact, about, number);
CREATE INDEX question_stale ON question (fresh_until) WHERE value IS NOT NULL;
CREATE INDEX question_asked ON question (asked_at);

CREATE TABLE question_person (
  person BLOB NOT NULL,
  instance TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (person, instance, number)
);
CREATE INDEX question_person_of ON question_person (instance, number);

CREATE TABLE disclosure (
  seq INTEGER PRIMARY KEY,
  person BLOB NOT NULL,                   -- keyed
  key TEXT NOT NULL,                       -- the id of the key
  at INTEGER NOT NULL,
  fact TEXT NOT NULL,
  fields TEXT NOT NULL,                    -- JSON, paths
  purpose TEXT NOT NULL,
  case_reference TEXT NOT NULL,
  laws TEXT NOT NULL,                      -- JSON
  source TEXT NOT NULL,                    -- instance.operation
  number INTEGER NOT NULL,                  -- of the question
  asked_case TEXT,                         -- the case of the question, where its answer was used again
  answer TEXT NOT NULL,
  fresh_until INTEGER NOT NULL,
  digest BLOB NOT NULL,
  route TEXT NOT NULL,
  route_digest BLOB NOT NULL,
  actor TEXT NOT NULL,
  delivery INTEGER NOT NULL,
  step TEXT NOT NULL,
  differs TEXT,                            -- JSON, paths: where what was declared differs; null where nothing was
  concealed_until INTEGER,                  -- nobody outside is told before
  keep_until INTEGER NOT NULL,
  UNIQUE (delivery, step, person, number)   -- replayed, a step may be told again, of another question
);
CREATE INDEX disclosure_person ON disclosure (person, at);
CREATE INDEX disclosure_keep ON disclosure (keep_until);
