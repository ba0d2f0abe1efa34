-- Documents: bytes that messages cite. The files lie beside the ledger, under their digests; a file is
-- there only while its row is.

CREATE TABLE document_file (
  sha256 BLOB PRIMARY KEY,
  unreferenced_at INTEGER,                 -- when its last document went
  doomed INTEGER NOT NULL DEFAULT 0        -- it is being deleted: nothing may refer to it until it is gone
) WITHOUT ROWID;
CREATE INDEX document_file_unreferenced ON document_file (unreferenced_at)
  WHERE unreferenced_at IS NOT NULL;

CREATE TABLE document (
  seq INTEGER PRIMARY KEY,
  key BLOB NOT NULL UNIQUE,
  party TEXT,                              -- who posted it
  delivery BLOB, step TEXT,                -- or the step that made it
  sha256 BLOB NOT NULL REFERENCES document_file (sha256),
  size INTEGER NOT NULL,
  media_type TEXT NOT NULL,
  name TEXT NOT NULL,
  posted_at INTEGER NOT NULL,
  kept INTEGER NOT NULL DEFAULT 0          -- a message cites it, or it is filed
);
CREATE INDEX document_sha256 ON document (sha256);
CREATE INDEX document_unclaimed ON document (posted_at) WHERE kept = 0;
CREATE UNIQUE INDEX document_made ON document (delivery, step) WHERE delivery IS NOT NULL;

CREATE TABLE document_pin (
  document INTEGER NOT NULL REFERENCES document (seq),
  message INTEGER NOT NULL REFERENCES message (seq),
  PRIMARY KEY (document, message)
) WITHOUT ROWID;
CREATE INDEX document_pin_message ON document_pin (message);

CREATE TABLE filing (
  seq INTEGER PRIMARY KEY,
  archive TEXT NOT NULL,                   -- the adapter instance
  protocol TEXT NOT NULL,
  document INTEGER NOT NULL REFERENCES document (seq),
  delivery BLOB NOT NULL, step TEXT NOT NULL,
  filed_at INTEGER NOT NULL,
  UNIQUE (archive, protocol, document)
);
CREATE INDEX filing_document ON filing (document);

-- The register by day.
CREATE INDEX register_day ON register (aoo, registered_at);
CREATE INDEX register_annulled ON register (aoo, annulled_at) WHERE annulled_at IS NOT NULL;
