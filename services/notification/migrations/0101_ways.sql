-- What became of a notification in its own words: one that is tried again is retrying, one that ended unsent has failed
-- or was skipped.
ALTER TABLE notifications DROP CONSTRAINT notifications_status_check;
UPDATE notifications SET status = CASE status WHEN 'failed' THEN 'retrying' WHEN 'gave_up' THEN 'failed' ELSE status END
 WHERE status IN ('failed', 'gave_up');
ALTER TABLE notifications
    ADD CONSTRAINT notifications_status_check CHECK (status IN ('queued', 'retrying', 'sent', 'failed', 'skipped')),
    -- The webhook that it goes to.
    ADD COLUMN webhook_id uuid,
    -- Why the last attempt failed, or why it was skipped.
    ADD COLUMN why text;

-- The dead list, and whatever else is not sent: few of many.
CREATE INDEX notifications_unsent ON notifications (status, created_at DESC, notification_id DESC)
    WHERE status IN ('retrying', 'failed', 'skipped');
CREATE INDEX notifications_of_webhook ON notifications (webhook_id, created_at DESC) WHERE webhook_id IS NOT NULL;

-- Read model of the webhooks: one row for each that there is.
CREATE TABLE webhooks (
    webhook_id uuid PRIMARY KEY,
    address    text        NOT NULL,
    kinds      text[]      NOT NULL,
    note       text,
    enabled    boolean     NOT NULL,
    created_at timestamptz NOT NULL,
    sequence   bigint      NOT NULL
);
