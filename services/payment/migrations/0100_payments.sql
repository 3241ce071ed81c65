-- Read model of the payments: one row each, as the fold of its events has it.
CREATE TABLE payments (
    payment_id     uuid PRIMARY KEY,
    order_id       uuid        NOT NULL,
    -- Unknown, as the currency and the method, while nothing but a refund was asked for.
    user_id        uuid,
    status         text        NOT NULL,
    amount_minor   bigint      NOT NULL,
    currency       text,
    payment_method text,
    -- The provider's number of the charge.
    transaction_id text,
    refunded_minor bigint      NOT NULL,
    -- How often the refund was asked for.
    attempt        integer     NOT NULL,
    reason         text,
    requested_at   timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    sequence       bigint      NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX payments_user ON payments (user_id, requested_at);
CREATE INDEX payments_requested ON payments (requested_at);
-- What the sweep looks for.
CREATE INDEX payments_unanswered ON payments (updated_at) WHERE status IN ('charge_requested', 'refund_requested');
