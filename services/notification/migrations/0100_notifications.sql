-- Read model of the notifications: one row each, as the fold of its events has it.
CREATE TABLE notifications (
    notification_id uuid PRIMARY KEY,
    message_id      uuid        NOT NULL,
    channel         text        NOT NULL,
    user_id         uuid        NOT NULL,
    order_id        uuid,
    -- What it says: the type of the message that it tells of.
    kind            text        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('queued', 'sent', 'failed', 'gave_up')),
    attempts        integer     NOT NULL,
    -- When the sweep takes it up; absent once it is sent or given up.
    next_attempt_at timestamptz,
    created_at      timestamptz NOT NULL,
    sent_at         timestamptz,
    sequence        bigint      NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX notifications_due ON notifications (channel, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX notifications_of_user ON notifications (user_id, created_at DESC);
CREATE INDEX notifications_of_order ON notifications (order_id) WHERE order_id IS NOT NULL;
