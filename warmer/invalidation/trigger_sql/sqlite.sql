-- Record a row that a statement changed, in the transaction of the change.
--
-- In Python's format: {name}, {event}, {table}, {comment} (what the triggers record), {inserts} (one for each
-- kind of record).
--
-- Keeps: every committed change has a record (guarantee 3). SQLite checks the names in a trigger when it fires
-- and when a table is altered, so the triggers are removed during migrations. Values are recorded as
-- text, so that a BLOB or an infinity never makes the project's own statement fail.
CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW
BEGIN
  /* {comment} */
{inserts}
END
