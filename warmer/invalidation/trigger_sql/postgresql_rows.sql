-- Count the rows that a statement changed, and return them as JSON: a part of a table's function, for each event.
--
-- In Python's format: {changed} (the changed rows, each column as text), {size} (the bytes of one), {limit} (the
-- number of rows, one more than a record can hold), {row_bytes} and {bytes} (the limits of a row and a record).
--
-- Over a limit the record means every key, because the applying process reads it as a whole. The limit of a row
-- keeps the result for a statement far below PostgreSQL's limit of a value.
      SELECT count(*),
          CASE WHEN count(*) < {limit} AND max(s.size) < {row_bytes} AND sum(s.size) < {bytes}
            THEN jsonb_agg(DISTINCT s.changed) FILTER (WHERE s.size < {row_bytes})::text END
        INTO warmer_number, warmer_rows
        FROM (
          SELECT m.size, CASE WHEN m.size < {row_bytes} THEN to_jsonb(c.*) END AS changed
            FROM {changed} c, LATERAL (SELECT {size} AS size) m LIMIT {limit}
        ) s;
