-- Facts (design §7): questions that were put to authorities, what is known of whom and until when, and what
-- was used of whom for what. Persons are keyed hashes; the key is not in here.

CREATE TABLE authority (
  instance TEXT NOT NULL PRIMARY KEY,
  last BIGINT NOT NULL                     -- the number of the last question
);

CREATE TABLE quota (
  instance TEXT NOT NULL,
  operation TEXT NOT NULL,
  day TEXT NOT NULL,                       -- in Italy, 2026-09-14
  asked BIGINT NOT NULL,                   -- questions that were put
  PRIMARY KEY (instance, operation, day)
);

CREATE TABLE question (
  instance TEXT NOT NULL,
  number BIGINT NOT NULL,
  fact TEXT NOT NULL,
  about BYTEA NOT NULL,                    -- everything that it says, keyed
  purpose TEXT NOT NULL,
  case_reference TEXT NOT NULL,
  asked_at BIGINT NOT NULL,                -- first
  delivery BIGINT NOT NULL,                -- who asks, under which fence, while it is open
  incarnation BIGINT NOT NULL, serial BIGINT NOT NULL,
  outdated BIGINT NOT NULL DEFAULT 0,      -- something has changed while it was open
  answered_at BIGINT,
  answer TEXT,
  value TEXT,                              -- the parts that are read under the purpose
  parts TEXT,
  digest BYTEA,                            -- of the whole answer
  fresh_until BIGINT,
  PRIMARY KEY (instance, number)
);
CREATE UNIQUE INDEX question_open ON question (fact, about, purpose) WHERE answered_at IS NULL;
CREATE INDEX question_known ON question (fact, about, number);
CREATE INDEX question_stale ON question (fresh_until) WHERE value IS NOT NULL;
CREATE INDEX question_asked ON question (asked_at);

CREATE TABLE question_person (
  person BYTEA NOT NULL,
  instance TEXT NOT NULL,
  number BIGINT NOT NULL,
  PRIMARY KEY (person, instance, number)
);
CREATE INDEX question_person_of ON question_person (instance, number);

CREATE TABLE disclosure (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  person BYTEA NOT NULL,                   -- keyed
  key TEXT NOT NULL,                       -- the id of the key
  at BIGINT NOT NULL,
  fact TEXT NOT NULL,
  fields TEXT NOT NULL,                    -- JSON, paths
  purpose TEXT NOT NULL,
  case_reference TEXT NOT NULL,
  laws TEXT NOT NULL,                      -- JSON
  source TEXT NOT NULL,                    -- instance.operation
  number BIGINT NOT NULL,                  -- of the question
  asked_case TEXT,                         -- the case of the question, where its answer was used again
  answer TEXT NOT NULL,
  fresh_until BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  route TEXT NOT NULL,
  route_digest BYTEA NOT NULL,
  actor TEXT NOT NULL,
  delivery BIGINT NOT NULL,
  step TEXT NOT NULL,
  differs TEXT,                            -- JSON, paths: where what was declared differs; null where nothing was
  concealed_until BIGINT,                  -- nobody outside is told before
  keep_until BIGINT NOT NULL,
  UNIQUE (delivery, step, person, number)   -- replayed, a step may be told again, of another question
);
CREATE INDEX disclosure_person ON disclosure (person, at);
CREATE INDEX disclosure_keep ON disclosure (keep_until);
