-- Read model of the users, for lists. Logins and profiles are answered from the streams.
CREATE TABLE users (
    user_id    uuid PRIMARY KEY,
    name       text        NOT NULL,
    email      text        NOT NULL,
    role       text        NOT NULL,
    created_at timestamptz NOT NULL,
    sequence   bigint      NOT NULL
);

-- The keys that access tokens are signed with; verifiers know the public halves by kid.
CREATE TABLE signing_keys (
    kid        text PRIMARY KEY,
    seed       bytea       NOT NULL CHECK (octet_length(seed) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
