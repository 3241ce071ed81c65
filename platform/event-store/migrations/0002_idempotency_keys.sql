-- Answers to requests that came with an idempotency key: written in the transaction of the
-- request's effect, given again to whoever repeats it, and deleted after a day.
CREATE TABLE idempotency_keys (
    -- Whose key it is: two callers may use the same one.
    scope       text     NOT NULL,
    key         text     NOT NULL,
    -- Of the request: the same key with another request is an error.
    fingerprint bytea    NOT NULL,
    status      smallint NOT NULL,
    -- [[name, value], …]
    headers     json     NOT NULL,
    body        bytea    NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, key)
);

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
