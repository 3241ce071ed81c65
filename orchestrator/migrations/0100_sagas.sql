-- Read model of the sagas: one row each, as the fold of its events has it.
CREATE TABLE sagas (
    order_id    uuid PRIMARY KEY,
    user_id     uuid        NOT NULL,
    state       text        NOT NULL,
    -- The steps that are stuck, if any.
    stuck       text,
    reason      text,
    total_minor bigint      NOT NULL,
    currency    text        NOT NULL,
    definition  integer     NOT NULL,
    deadline    timestamptz,
    started_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    sequence    bigint      NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX sagas_open ON sagas (state, order_id) WHERE ended_at IS NULL;
