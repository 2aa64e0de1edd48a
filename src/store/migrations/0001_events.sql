-- Logs of events, as docs/decisions/postgres-store.md says. Run once, in one transaction, by the role that owns it all.
-- A file that was released is never changed: its checksum is recorded. What is to change comes in the next number.
CREATE SCHEMA slipform;
REVOKE ALL ON SCHEMA slipform FROM PUBLIC;

-- Whose database this is: one row.
CREATE TABLE slipform.installation (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    name text NOT NULL
);
CREATE TABLE slipform.migrations (
    n integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    program text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

-- The end of each log. Only slipform.append moves it. Room on the page, so that an update never touches an index.
-- A number of a log is never given twice: who knows the number knows the incarnation.
CREATE TABLE slipform.heads (
    log integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    incarnation uuid NOT NULL,
    seq bigint NOT NULL DEFAULT 0,
    sum bigint NOT NULL DEFAULT 0,
    instant_ns bigint NOT NULL DEFAULT -9223372036854775808,
    tiebreak bigint NOT NULL DEFAULT -1
) WITH (fillfactor = 10);

-- A record is its line, byte for byte as the files store has it; the rest is there to find it by.
CREATE TABLE slipform.events (
    log integer NOT NULL,
    seq bigint NOT NULL,
    sum bigint NOT NULL,
    id uuid NOT NULL,
    line text NOT NULL,
    PRIMARY KEY (log, seq)
);
CREATE INDEX events_by_id ON slipform.events (log, id);

-- Who works on a log now. A crash of the server empties it, which costs its holders one renewal.
CREATE UNLOGGED TABLE slipform.leases (
    log integer NOT NULL,
    name text NOT NULL,
    until_us bigint NOT NULL,
    abstains boolean NOT NULL,
    plans boolean NOT NULL,
    format bigint NOT NULL,
    PRIMARY KEY (log, name)
);

CREATE FUNCTION slipform.clock_us() RETURNS bigint
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- A log by its name, made when it is not there.
CREATE FUNCTION slipform.make_log(at_name text, at_incarnation uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO slipform.heads (name, incarnation) VALUES (at_name, at_incarnation) ON CONFLICT (name) DO NOTHING;
$$;

-- Until this transaction ends nobody else appends.
CREATE FUNCTION slipform.hold(at_log integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM slipform.heads WHERE log = at_log FOR NO KEY UPDATE;
END $$;

-- Append records behind (at_seq, at_sum), if the log ends there: the clock in microseconds. Else nothing: NULL.
-- Two at once meet at the head's row: the second waits, looks again, and finds that the log ends elsewhere.
CREATE FUNCTION slipform.append(at_log integer, at_seq bigint, at_sum bigint, new_ids uuid[], new_sums bigint[],
                                new_lines text[], new_instant_ns bigint, new_tiebreak bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n integer := cardinality(new_lines);
BEGIN
    IF n = 0 OR cardinality(new_ids) <> n OR cardinality(new_sums) <> n THEN
        RAISE EXCEPTION 'an append needs as many ids and sums as lines';
    END IF;
    UPDATE slipform.heads
        SET seq = at_seq + n, sum = new_sums[n], instant_ns = new_instant_ns, tiebreak = new_tiebreak
        WHERE log = at_log AND seq = at_seq AND sum = at_sum
            AND (instant_ns, tiebreak) < (new_instant_ns, new_tiebreak);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO slipform.events (log, seq, sum, id, line)
        SELECT at_log, at_seq + t.i, t.sum, t.id, t.line
        FROM unnest(new_sums, new_ids, new_lines) WITH ORDINALITY AS t (sum, id, line, i);
    RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
END $$;

-- What follows at_seq: first a row of the log's end and of the sum at at_seq, then records; at least one, if there is
-- one. Stable: all of it is one state of the log.
CREATE FUNCTION slipform.read(at_log integer, at_seq bigint, records_max bigint, size_max bigint)
    RETURNS TABLE (ret_seq bigint, ret_sum bigint, ret_line text, ret_instant_ns bigint, ret_tiebreak bigint,
                   ret_clock_us bigint, ret_at_sum bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    end_seq bigint;
    size bigint := 0;
BEGIN
    SELECT h.seq, h.sum, h.instant_ns, h.tiebreak INTO ret_seq, ret_sum, ret_instant_ns, ret_tiebreak
        FROM slipform.heads h WHERE h.log = at_log;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    ret_clock_us := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    end_seq := ret_seq;
    IF at_seq = 0 THEN
        ret_at_sum := 0;
    ELSIF at_seq = end_seq THEN
        ret_at_sum := ret_sum;
    ELSE
        SELECT e.sum INTO ret_at_sum FROM slipform.events e WHERE e.log = at_log AND e.seq = at_seq;
    END IF;
    RETURN NEXT;
    IF at_seq >= end_seq THEN
        RETURN;
    END IF;
    FOR ret_seq, ret_sum, ret_line IN
        SELECT e.seq, e.sum, e.line FROM slipform.events e
            WHERE e.log = at_log AND e.seq > at_seq AND e.seq <= end_seq ORDER BY e.seq LIMIT records_max
    LOOP
        EXIT WHEN size > 0 AND size + octet_length(ret_line) >= size_max;
        size := size + octet_length(ret_line) + 1;
        RETURN NEXT;
    END LOOP;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA slipform FROM PUBLIC;
