-- Keys that sealed fields of events are opened with, wrapped under a key that is not here: nobody can read them from this
-- table. A row that is deleted ends what its key opens; a vacuum and the end of the archived WAL take the last of it.
CREATE TABLE slipform.keys (
    log integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    wrapped text NOT NULL,
    written_us bigint NOT NULL,
    PRIMARY KEY (log, name)
);
