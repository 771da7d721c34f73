-- Record which rows of a table a statement changed, in the transaction of the change.
--
-- One function for each table, called by four AFTER ... FOR EACH STATEMENT triggers: warmer_insert,
-- warmer_update, warmer_delete and warmer_truncate. In Python's format: {function}, {records} (the table of
-- records, as a string), {schema} (its schema), {blocks} (one `postgresql_block.sql` for each kind of record).
--
-- Keeps: every committed change has a record (guarantee 3), and a trigger never makes the project's own
-- statement fail. So there is no EXCEPTION block (a subtransaction for each statement), no JSON of whole rows
-- (a column of ours need not be castable), and our own table may be missing, or belong to another role than the
-- function. Columns are named only after a check of pg_attribute: PL/pgSQL plans a statement when it first runs,
-- so a branch that names a dropped or renamed column is harmless as long as it is not executed.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
SET "DateStyle" = 'ISO, YMD'
SET "IntervalStyle" = 'postgres'
SET bytea_output = 'hex'
SET extra_float_digits = 1
AS $warmer$
#variable_conflict use_column
DECLARE
  warmer_rows text;
  warmer_number bigint;
BEGIN
  -- `to_regclass` raises in a schema that it may not use.
  IF has_schema_privilege(to_regnamespace({schema})::oid, 'USAGE') IS NOT TRUE THEN RETURN NULL; END IF;
  IF has_table_privilege(to_regclass({records})::oid, 'INSERT') IS NOT TRUE THEN RETURN NULL; END IF;
{blocks}
  RETURN NULL;
END
$warmer$
