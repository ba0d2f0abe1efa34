-- Retention: when a message is looked at next, and what keeps numbers and versions safe when rows go.

CREATE TABLE keeping (
  message BIGINT PRIMARY KEY REFERENCES message (seq),
  look_at BIGINT NOT NULL
);
CREATE INDEX keeping_look ON keeping (look_at);

CREATE TABLE retention (
  name TEXT PRIMARY KEY,                             -- `walked`: the last message looked at first;
  n BIGINT NOT NULL                                  -- `messages`: accepted messages that are gone
);

CREATE INDEX lookup_message ON lookup (message);

ALTER TABLE order_key ADD COLUMN used_at BIGINT;     -- when a number was drawn last
CREATE TABLE order_floor (
  subscriber TEXT PRIMARY KEY,
  last BIGINT NOT NULL                               -- keys that come anew draw above it
);

ALTER TABLE route_version ADD COLUMN seen_at BIGINT; -- when it was last known to run
