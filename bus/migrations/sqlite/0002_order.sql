-- The order of deliveries (custody a.7). The key is a digest: what it was made of may name a person.

ALTER TABLE delivery ADD COLUMN order_key BLOB;     -- of a route with `order_by`
ALTER TABLE delivery ADD COLUMN order_no INTEGER;   -- within (subscriber, order_key)
ALTER TABLE delivery ADD COLUMN held_below INTEGER; -- waits for an earlier one whose state is lower

CREATE INDEX delivery_order ON delivery (subscriber, order_key, order_no)
  WHERE order_key IS NOT NULL AND state < 7;

CREATE TABLE order_key (
  subscriber TEXT NOT NULL,
  order_key BLOB NOT NULL,
  last INTEGER NOT NULL,                            -- the number drawn last
  PRIMARY KEY (subscriber, order_key)
) WITHOUT ROWID;
