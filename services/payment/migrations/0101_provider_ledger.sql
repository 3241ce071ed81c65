-- The simulated provider's own book. Only the provider writes it; the audit compares it with the
-- payments.
CREATE TABLE provider_ledger (
    -- The caller's idempotency key: one key, one entry.
    key            text PRIMARY KEY,
    kind           text        NOT NULL CHECK (kind IN ('charge', 'refund')),
    payment_id     uuid        NOT NULL,
    amount_minor   bigint      NOT NULL CHECK (amount_minor > 0),
    currency       text        NOT NULL,
    outcome        text        NOT NULL CHECK (outcome IN ('captured', 'declined', 'refunded', 'refused')),
    -- Where money moved.
    transaction_id text,
    -- Where it did not.
    reason         text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((transaction_id IS NULL) = (outcome IN ('declined', 'refused')))
);

CREATE INDEX provider_ledger_payment ON provider_ledger (payment_id);
