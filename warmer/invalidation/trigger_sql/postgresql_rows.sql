-- Find how many rows a statement changed, and those as JSON: a part of the function of a table, for each event.
--
-- In Python's format: {changed} (the changed rows, each column as text), {size} (the bytes of one), {limit} (the
-- rows, one more than a record holds), {row_bytes} and {bytes} (what a row and a record hold).
--
-- Past a limit the record says "every key": a process that applies it reads it whole. The limit for a row keeps what is
-- put together for a statement far below PostgreSQL's limit for a value.
      SELECT count(*),
          CASE WHEN count(*) < {limit} AND max(s.size) < {row_bytes} AND sum(s.size) < {bytes}
            THEN jsonb_agg(DISTINCT s.changed) FILTER (WHERE s.size < {row_bytes})::text END
        INTO warmer_number, warmer_rows
        FROM (
          SELECT m.size, CASE WHEN m.size < {row_bytes} THEN to_jsonb(c.*) END AS changed
            FROM {changed} c, LATERAL (SELECT {size} AS size) m LIMIT {limit}
        ) s;
