-- The requested relations, every visible table with triggers of ours, their partitions, and these triggers.
--
-- Parameters: the requested tables, their schemas (empty: on the search_path), their names, and the functions that
-- their triggers call; twice the names of our triggers. In Python's format: {table} (the table of records).
--
-- Returns one row for each table and each of its partitions: the requested table, or the name of another; the
-- partition; the events of the enabled triggers that call the right function in the table's schema (a table that was
-- renamed or moved has triggers that call another one); the comment of the function; the columns; whether the table
-- can have triggers; the statements that drop all of them; its schema; its owner if the function cannot write to the
-- table of records, because its own owner may not, or because that table has another name than the function uses; and
-- the qualified name of the table of records.
WITH RECURSIVE requested(asked, function, oid) AS (
  SELECT asked, function, oid
  FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS given(asked, schema, name, function)
  JOIN pg_class ON relname = name AND relkind IN ('r', 'p', 'v', 'm', 'f')
  WHERE CASE schema WHEN '' THEN pg_table_is_visible(oid) ELSE
    relnamespace = (SELECT pg_namespace.oid FROM pg_namespace WHERE nspname = schema) END
),
part(asked, function, root, oid) AS (
  SELECT asked, function, oid, oid FROM requested
  UNION ALL
  SELECT relname::text, '', oid, oid FROM pg_class
  WHERE oid IN (SELECT tgrelid FROM pg_trigger WHERE tgname = ANY(%s)) AND pg_table_is_visible(oid)
    AND NOT relispartition AND oid NOT IN (SELECT oid FROM requested)
  UNION ALL
  SELECT part.asked, part.function, part.root, pg_inherits.inhrelid
  FROM part JOIN pg_inherits ON inhparent = part.oid
  JOIN pg_class ON pg_class.oid = inhrelid WHERE relispartition
)
SELECT part.asked, CASE WHEN part.oid <> part.root THEN part.oid::regclass::text END,
  array_agg(replace(tgname, 'warmer_', '')) FILTER (
    WHERE tgenabled IN ('O', 'A') AND pronamespace = root.relnamespace AND proname = part.function
  ),
  max(obj_description(tgfoid, 'pg_proc')),
  ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = part.oid AND attnum > 0 AND NOT attisdropped),
  root.relkind IN ('r', 'p'),
  array_agg(DISTINCT 'DROP FUNCTION IF EXISTS ' || tgfoid::regprocedure::text || ' CASCADE')
    FILTER (WHERE tgfoid IS NOT NULL),
  root.relnamespace::regnamespace::text,
  CASE WHEN bool_or(
    NOT has_table_privilege(proowner, records.oid, 'INSERT')
    OR NOT has_schema_privilege(proowner, records.schema, 'USAGE')
    OR position('INTO ' || records.name || ' (' IN prosrc) = 0
  ) THEN root.relowner::regrole::text END,
  records.name
FROM part JOIN pg_class root ON root.oid = part.root
LEFT JOIN pg_trigger ON tgrelid = part.oid AND tgname = ANY(%s)
LEFT JOIN pg_proc ON pg_proc.oid = tgfoid
LEFT JOIN (
  SELECT pg_class.oid, relnamespace AS schema, quote_ident(nspname) || '.' || quote_ident(relname) AS name
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  WHERE relname = '{table}' AND pg_table_is_visible(pg_class.oid)
) records ON TRUE
GROUP BY part.asked, root.oid, root.relkind, root.relnamespace, root.relowner, part.oid, part.root, records.name
