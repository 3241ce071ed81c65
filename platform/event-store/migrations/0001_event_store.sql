-- One service's event store. The event table is the outbox: all else here follows from it, or is
-- moved in the same transaction that appends to it.

-- As postgres-es has it, and three columns more that fill themselves, so that a stock
-- PostgresEventRepository reads and writes the same streams.
CREATE TABLE events (
    aggregate_type text   NOT NULL,
    aggregate_id   text   NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence >= 1),
    event_type     text   NOT NULL,
    event_version  text   NOT NULL,
    -- json, not jsonb: the text is kept as it was written.
    payload        json   NOT NULL,
    metadata       json   NOT NULL,
    -- Handed out before the commit: says nothing about commit order by itself.
    position       bigint GENERATED ALWAYS AS IDENTITY,
    -- Readers see only rows below the oldest transaction in flight, and page by
    -- (transaction_id, position).
    transaction_id xid8   NOT NULL DEFAULT pg_current_xact_id(),
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);

CREATE INDEX events_visible_order ON events (transaction_id, position);

-- Appended to at the end only: a vacuum has nothing to clean, but must freeze and set the
-- visibility map now and then.
ALTER TABLE events SET (autovacuum_vacuum_insert_scale_factor = 0.05);

-- A state and the sequence that it covers: one row a stream, the latest. Columns are named as in
-- postgres-es, whose snapshots are not used (cqrs-es 0.5 applies events twice there).
CREATE TABLE snapshots (
    aggregate_type   text   NOT NULL,
    aggregate_id     text   NOT NULL,
    last_sequence    bigint NOT NULL CHECK (last_sequence >= 1),
    current_snapshot bigint NOT NULL DEFAULT 1 CHECK (current_snapshot >= 1),
    payload          json   NOT NULL,
    saved_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (aggregate_type, aggregate_id)
);

-- How far a follower of the event table (relay, projection) has come in the visible order.
CREATE TABLE checkpoints (
    follower       text   PRIMARY KEY,
    transaction_id xid8   NOT NULL,
    position       bigint NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The living instances of a consumer: partitions are shared fairly among them.
CREATE TABLE consumer_members (
    consumer   text        NOT NULL,
    owner      uuid        NOT NULL,
    seen_until timestamptz NOT NULL,
    PRIMARY KEY (consumer, owner)
) WITH (fillfactor = 50);

-- A consumer's partitions. Each claim raises the epoch; whoever holds an older one writes nothing.
CREATE TABLE consumer_offsets (
    consumer    text    NOT NULL,
    topic       text    NOT NULL,
    partition   integer NOT NULL CHECK (partition >= 0),
    epoch       bigint  NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    -- Nobody's when null.
    owner       uuid,
    lease_until timestamptz,
    next_offset bigint  NOT NULL DEFAULT 0 CHECK (next_offset >= 0),
    PRIMARY KEY (consumer, topic, partition)
) WITH (fillfactor = 50);

-- Records that can never be handled, and those parked behind them because they share their key.
CREATE TABLE dead_letters (
    consumer     text    NOT NULL,
    topic        text    NOT NULL,
    partition    integer NOT NULL,
    "offset"     bigint  NOT NULL,
    key          text    NOT NULL,
    headers      json    NOT NULL,
    value        bytea   NOT NULL,
    timestamp_ms bigint  NOT NULL,
    reason       text    NOT NULL,
    parked       boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, topic, partition, "offset")
);

CREATE INDEX dead_letters_key ON dead_letters (consumer, topic, key);

-- Commands that a consumer has handled: a command delivered twice takes effect once.
CREATE TABLE inbox (
    consumer   text NOT NULL,
    command_id uuid NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, command_id)
);

-- Durable timers, at most one a stream.
CREATE TABLE timers (
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    due_at         timestamptz NOT NULL,
    traceparent    text,
    correlation_id uuid        NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);

CREATE INDEX timers_due ON timers (aggregate_type, due_at, aggregate_id);
