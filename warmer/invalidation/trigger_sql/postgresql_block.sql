-- Write one kind of record: a part of the function of a table, once for each set of compared columns.
--
-- In Python's format: {records} (the table of records), {source} (the source's name in the record), {names} and
-- {number} (the columns that are named here), {inserted}, {updated} and {deleted} (`postgresql_rows.sql`).
--
-- A virtual generated column has no value in a transition table: naming it raises.
-- A sequence may be behind the ids of our table, as after a restore of the data alone. Then a later id is free.
  warmer_rows := NULL;
  warmer_number := 1;
  IF TG_OP <> 'TRUNCATE' AND (
    SELECT count(*) FROM pg_attribute
    WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped AND attname = ANY({names})
      AND attgenerated <> 'v'
  ) = {number} THEN
    IF TG_OP = 'INSERT' THEN
{inserted}
    ELSIF TG_OP = 'UPDATE' THEN
{updated}
    ELSIF TG_OP = 'DELETE' THEN
{deleted}
    END IF;
  END IF;
  FOR warmer_try IN 1..100000 LOOP
    EXIT WHEN warmer_number = 0;
    INSERT INTO {records} (source, rows) VALUES ({source}, warmer_rows) ON CONFLICT DO NOTHING;
    EXIT WHEN FOUND;
  END LOOP;
