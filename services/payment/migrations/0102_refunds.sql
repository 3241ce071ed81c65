-- Each refund that was asked of the provider, in the payment's row.
ALTER TABLE payments ADD COLUMN refunds jsonb NOT NULL DEFAULT '[]';

-- Rows from before are folded anew, from the beginning.
DELETE FROM payments;
DELETE FROM checkpoints WHERE follower = 'payments';

ALTER TABLE provider_ledger
    -- The token, or the charge that is undone; unknown in entries from before.
    ADD COLUMN source  text,
    -- Answers about the entry that will fail.
    ADD COLUMN trouble smallint NOT NULL DEFAULT 0;
