-- Every relation that can have triggers, its partitions, and which of our triggers they have.
--
-- Parameters: the requested tables, their schemas (empty: on the search_path), and their names.
-- In Python's format: {table} (the table of records).
--
-- Returns one row for each table and each of its partitions: the requested table, its kind, and its schema;
-- whether the row is a partition, and its relation; the enabled triggers, each with its function in the table's
-- schema; the comment of the function; the columns; the table's owner if the function cannot write to the table
-- of records, because its own owner may not, or because that table has another name than the function uses; and
-- the qualified name of the table of records.
WITH RECURSIVE part(asked, root, oid) AS (
  SELECT asked, oid, oid FROM unnest(%s::text[], %s::text[], %s::text[]) AS given(asked, schema, name)
  JOIN pg_class ON relname = name AND relkind IN ('r', 'p', 'v', 'm', 'f')
  WHERE CASE schema WHEN '' THEN pg_table_is_visible(oid) ELSE
    relnamespace = (SELECT pg_namespace.oid FROM pg_namespace WHERE nspname = schema) END
  UNION ALL
  SELECT part.asked, part.root, pg_inherits.inhrelid FROM part JOIN pg_inherits ON inhparent = part.oid
  JOIN pg_class ON pg_class.oid = inhrelid WHERE relispartition
)
SELECT part.asked, root.relkind, root.relnamespace::regnamespace::text,
  part.oid <> part.root, part.oid::regclass::text,
  array_agg(tgname || ' ' || proname) FILTER (WHERE tgenabled IN ('O', 'A') AND pronamespace = root.relnamespace),
  max(obj_description(tgfoid, 'pg_proc')),
  ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = part.oid AND attnum > 0 AND NOT attisdropped),
  CASE WHEN bool_or(
    NOT has_table_privilege(proowner, records.oid, 'INSERT')
    OR NOT has_schema_privilege(proowner, records.schema, 'USAGE')
    OR position('INTO ' || records.name || ' (' IN prosrc) = 0
  ) THEN root.relowner::regrole::text END,
  records.name
FROM part JOIN pg_class root ON root.oid = part.root
LEFT JOIN pg_trigger ON tgrelid = part.oid AND NOT tgisinternal AND tgname LIKE 'warmer\_%%'
LEFT JOIN pg_proc ON pg_proc.oid = tgfoid
LEFT JOIN (
  SELECT pg_class.oid, relnamespace AS schema, quote_ident(nspname) || '.' || quote_ident(relname) AS name
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  WHERE relname = '{table}' AND pg_table_is_visible(pg_class.oid)
) records ON TRUE
GROUP BY part.asked, root.oid, root.relkind, root.relnamespace, root.relowner, part.oid, part.root, records.name
