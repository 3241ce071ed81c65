-- Read models that are made anew beside those that serve (docs/decisions/0019-rebuilding-read-models.md).

-- The version of the code that each read model's rows are of, and when it was last made anew.
CREATE TABLE projections (
    projection      text PRIMARY KEY,
    version         integer NOT NULL,
    rebuilt_at      timestamptz,
    rebuild_seconds double precision,
    rebuilt_events  bigint,
    rebuilt_rows    bigint,
    verified_at     timestamptz
);

-- Rebuilds that have begun and not ended: each goes on where it was ended by whatever.
CREATE TABLE projection_rebuilds (
    projection     text PRIMARY KEY,
    version        integer NOT NULL,
    -- Raised by whoever takes it up; with an older one nothing is written.
    epoch          bigint  NOT NULL DEFAULT 1,
    phase          text    NOT NULL CHECK (phase IN ('filling', 'indexing', 'catching_up')),
    -- The serving table's columns as they were when it began.
    shape          text    NOT NULL,
    -- Rows without an event since then are taken over; null: every stream is folded.
    since_xid      xid8,
    since_position bigint,
    -- What the table has: while it is filled, what it will have then.
    transaction_id xid8    NOT NULL,
    position       bigint  NOT NULL,
    -- As far as it is known.
    events_total   bigint  NOT NULL,
    began_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Ranges of streams, each filled by one worker at a time, in the order of their ids.
CREATE TABLE projection_rebuild_parts (
    projection text    NOT NULL REFERENCES projection_rebuilds ON DELETE CASCADE,
    part       integer NOT NULL,
    -- Everything up to here is written.
    after_id   text,
    up_to_id   text,
    is_done    boolean NOT NULL DEFAULT false,
    events     bigint  NOT NULL DEFAULT 0,
    rows       bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, part)
) WITH (fillfactor = 50);

-- Tables that are being filled, and those that served before.
CREATE SCHEMA projection_new;
CREATE SCHEMA projection_old;
