-- The read model of orders: a row an order, as its events tell up to the projection's checkpoint.
CREATE TABLE orders (
    id               uuid        PRIMARY KEY,
    user_id          uuid        NOT NULL,
    status           text        NOT NULL CHECK (status IN ('pending', 'confirmed', 'cancelled')),
    -- The lines as the event has them.
    lines            json        NOT NULL,
    total_minor      bigint      NOT NULL,
    currency         text        NOT NULL,
    payment_method   text        NOT NULL,
    cancel_reason    text,
    cancel_requested boolean     NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    -- The last event of the stream that is in the row.
    sequence         bigint      NOT NULL CHECK (sequence >= 1)
-- Each row is changed once or twice soon after it was written; no index holds what changes then.
) WITH (fillfactor = 70);

-- Ids contain their time: the newest first.
CREATE INDEX orders_of_user ON orders (user_id, id DESC);
