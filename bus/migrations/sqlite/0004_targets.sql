-- Targets that are away (design §8): one line per adapter instance, seen by every process. While it is there
-- the routes that call the instance wait; who moves `probe_at` on may ask the target whether it is back.

CREATE TABLE target_away (
  instance TEXT NOT NULL PRIMARY KEY,
  since INTEGER NOT NULL,
  code TEXT NOT NULL,
  probe_at INTEGER NOT NULL
) WITHOUT ROWID;
