-- Retention: when a message is looked at next, and what keeps numbers and versions safe when rows go.

CREATE TABLE keeping (
  message INTEGER PRIMARY KEY REFERENCES message (seq),
  look_at INTEGER NOT NULL
);
CREATE INDEX keeping_look ON keeping (look_at);

CREATE TABLE retention (
  name TEXT PRIMARY KEY,                            -- `walked`: the last message looked at first;
  n INTEGER NOT NULL                                -- `messages`: accepted messages that are gone
) WITHOUT ROWID;

CREATE INDEX lookup_message ON lookup (message);

ALTER TABLE order_key ADD COLUMN used_at INTEGER;   -- when a number was drawn last
CREATE TABLE order_floor (
  subscriber TEXT PRIMARY KEY,
  last INTEGER NOT NULL                             -- keys that come anew draw above it
) WITHOUT ROWID;

ALTER TABLE route_version ADD COLUMN seen_at INTEGER; -- when it was last known to run
