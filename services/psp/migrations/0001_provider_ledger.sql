-- The provider's book, which is also the outbox of its webhooks: what is entered is told.
CREATE TABLE provider_ledger (
    -- The caller's idempotency key: one key, one entry.
    key               text COLLATE "C" PRIMARY KEY,
    kind              text        NOT NULL CHECK (kind IN ('charge', 'refund')),
    -- What the caller calls it.
    payment_id        uuid        NOT NULL,
    amount_minor      bigint      NOT NULL CHECK (amount_minor > 0),
    currency          text        NOT NULL,
    outcome           text        NOT NULL CHECK (outcome IN ('captured', 'declined', 'refunded', 'refused')),
    -- Where money moved.
    transaction_id    text,
    -- Where it did not.
    reason            text,
    -- The token, or the charge that is undone.
    source            text,
    -- Answers about it that will fail.
    trouble           smallint    NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Deliveries of its webhook that were begun.
    webhook_attempts  integer     NOT NULL DEFAULT 0,
    -- When the next is due; none once it was taken, or was given up.
    webhook_next_at   timestamptz DEFAULT clock_timestamp(),
    -- When it was taken.
    webhook_taken_at  timestamptz,
    CHECK ((transaction_id IS NULL) = (outcome IN ('declined', 'refused')))
);

CREATE INDEX provider_ledger_payment ON provider_ledger (payment_id);
CREATE INDEX provider_ledger_webhooks ON provider_ledger (webhook_next_at) WHERE webhook_next_at IS NOT NULL;
