-- Write one kind of record: a part of the function of a table, once for each set of compared columns.
--
-- In Python's format: {records} (the table of records), {source} (the source's name in the record), {names} and
-- {number} (the columns that are named here), {inserted}, {updated} and {deleted} (`postgresql_rows.sql`).
  IF TG_OP = 'TRUNCATE' OR NOT (
    SELECT count(*) FROM pg_attribute
    WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped AND attname = ANY({names})
  ) = {number} THEN
    INSERT INTO {records} (source, rows) VALUES ({source}, NULL);
  ELSE
    IF TG_OP = 'INSERT' THEN
{inserted}
    ELSIF TG_OP = 'UPDATE' THEN
{updated}
    ELSIF TG_OP = 'DELETE' THEN
{deleted}
    END IF;
    IF warmer_number > 0 THEN
      INSERT INTO {records} (source, rows) VALUES ({source}, warmer_rows);
    END IF;
  END IF;
