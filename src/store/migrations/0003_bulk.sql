-- Lines that are kept for a while, as docs/decisions/bulk-store.md says. A row is a chunk of lines; generations are
-- partitions, and what is too old or too much goes as a whole partition. The role of the replicas touches none of these
-- tables itself.
CREATE TABLE slipform.bulk_series (
    series bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    last_seq bigint NOT NULL,
    bytes bigint NOT NULL,
    kept_from bigint NOT NULL DEFAULT 0,
    touched_us bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE slipform.bulk_generations (
    generation bigint PRIMARY KEY,
    since_us bigint NOT NULL
);
-- upto: bytes of the series up to and with this row, ever.
CREATE TABLE slipform.bulk (
    generation bigint NOT NULL,
    series bigint NOT NULL,
    last_seq bigint NOT NULL,
    upto bigint NOT NULL,
    lines text NOT NULL
) PARTITION BY LIST (generation);
CREATE INDEX bulk_by_seq ON slipform.bulk (series, last_seq);
CREATE TABLE slipform.bulk_1 PARTITION OF slipform.bulk FOR VALUES IN (1);
INSERT INTO slipform.bulk_generations VALUES (1, slipform.clock_us());

-- Put a chunk behind at_seq, if the series ends there: NULL. Else nothing: the number that it ends at.
-- It does not wait for its flush, and nothing that does waits for it but a writer of the same series.
CREATE FUNCTION slipform.bulk_put(at_name text, at_seq bigint, new_seq bigint, new_lines text, size_max bigint)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n bigint := octet_length(new_lines);
    row_series bigint;
    row_bytes bigint;
    row_from bigint;
    ended_at bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF at_seq >= new_seq THEN
        RAISE EXCEPTION 'a chunk needs a number above %', at_seq;
    END IF;
    UPDATE slipform.bulk_series SET last_seq = new_seq, bytes = bytes + n, touched_us = slipform.clock_us()
        WHERE name = at_name AND last_seq = at_seq RETURNING series, bytes, kept_from INTO row_series, row_bytes, row_from;
    IF NOT FOUND AND at_seq = 0 THEN
        INSERT INTO slipform.bulk_series (name, last_seq, bytes, touched_us)
            VALUES (at_name, new_seq, n, slipform.clock_us())
            ON CONFLICT (name) DO NOTHING RETURNING series, bytes, kept_from INTO row_series, row_bytes, row_from;
    END IF;
    IF row_series IS NULL THEN
        SELECT last_seq INTO ended_at FROM slipform.bulk_series WHERE name = at_name;
        RETURN coalesce(ended_at, 0);
    END IF;
    INSERT INTO slipform.bulk (generation, series, last_seq, upto, lines)
        SELECT max(g.generation), row_series, new_seq, row_bytes, new_lines FROM slipform.bulk_generations g;
    IF row_bytes - row_from > size_max THEN
        DELETE FROM slipform.bulk WHERE series = row_series AND upto <= row_bytes - size_max / 2;
        UPDATE slipform.bulk_series SET kept_from = row_bytes - size_max / 2 WHERE series = row_series;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION slipform.bulk_end(at_name text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT last_seq FROM slipform.bulk_series WHERE name = at_name), 0);
$$;

-- Chunks that have lines behind at_seq, at least one if there is one.
CREATE FUNCTION slipform.bulk_read(at_name text, at_seq bigint, size_max bigint) RETURNS SETOF text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    size bigint := 0;
    chunk text;
BEGIN
    FOR chunk IN
        SELECT b.lines FROM slipform.bulk b
            WHERE b.series = (SELECT s.series FROM slipform.bulk_series s WHERE s.name = at_name AND s.last_seq > at_seq)
                AND b.last_seq > at_seq ORDER BY b.last_seq
    LOOP
        EXIT WHEN size > 0 AND size + octet_length(chunk) > size_max;
        size := size + octet_length(chunk);
        RETURN NEXT chunk;
    END LOOP;
END $$;

-- The number behind which the newest size_max bytes are, in whole chunks, at least one.
CREATE FUNCTION slipform.bulk_tail(at_name text, size_max bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    row_series bigint;
    row_bytes bigint;
    chunk record;
    is_first boolean := true;
BEGIN
    SELECT s.series, s.bytes INTO row_series, row_bytes FROM slipform.bulk_series s WHERE s.name = at_name;
    FOR chunk IN
        SELECT b.last_seq, b.upto - octet_length(b.lines) AS begins FROM slipform.bulk b WHERE b.series = row_series
            ORDER BY b.last_seq DESC
    LOOP
        IF NOT is_first AND row_bytes - chunk.begins > size_max THEN
            RETURN chunk.last_seq;
        END IF;
        is_first := false;
    END LOOP;
    RETURN 0;
END $$;

-- Its rows are nobody's any more, and go with their partitions: a number of a series is never given twice.
CREATE FUNCTION slipform.bulk_drop(at_name text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM slipform.bulk_series WHERE name = at_name;
$$;

CREATE FUNCTION slipform.bulk_idle(before_us bigint, after_name text, n bigint) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT name FROM slipform.bulk_series WHERE touched_us < before_us AND name > after_name ORDER BY name LIMIT n;
$$;

-- Begin a generation when the newest is too big or too old a part; drop the oldest while all are too much, or while all
-- that is in it is too old. One at a time; who comes meanwhile leaves it to that one.
CREATE FUNCTION slipform.bulk_sweep(now_us bigint, size_max bigint, kept_us bigint, part_bytes bigint, part_us bigint)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    newest record;
    oldest record;
    next_us bigint;
    sum_bytes bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(8317138543322296942) THEN
        RETURN;
    END IF;
    SELECT generation, since_us INTO newest FROM slipform.bulk_generations ORDER BY generation DESC LIMIT 1;
    IF pg_total_relation_size(format('slipform.bulk_%s', newest.generation)) >= part_bytes
            OR now_us - newest.since_us >= part_us THEN
        EXECUTE format('CREATE TABLE slipform.bulk_%s PARTITION OF slipform.bulk FOR VALUES IN (%s)',
                       newest.generation + 1, newest.generation + 1);
        INSERT INTO slipform.bulk_generations VALUES (newest.generation + 1, now_us);
    END IF;
    LOOP
        SELECT generation INTO oldest FROM slipform.bulk_generations ORDER BY generation LIMIT 1;
        SELECT since_us INTO next_us FROM slipform.bulk_generations WHERE generation > oldest.generation
            ORDER BY generation LIMIT 1;
        EXIT WHEN next_us IS NULL;
        SELECT sum(pg_total_relation_size(format('slipform.bulk_%s', g.generation))) INTO sum_bytes
            FROM slipform.bulk_generations g;
        EXIT WHEN sum_bytes <= size_max AND now_us - next_us < kept_us;
        EXECUTE format('DROP TABLE slipform.bulk_%s', oldest.generation);
        DELETE FROM slipform.bulk_generations WHERE generation = oldest.generation;
    END LOOP;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA slipform FROM PUBLIC;
