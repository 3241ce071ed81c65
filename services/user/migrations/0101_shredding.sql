-- Personal data is stored as ciphertext alone, and secrets are wrapped by the master key. What was written before this
-- had neither: keys are made anew, and the read model is filled again from the events.

-- The key of each person's data. Without its row nothing of theirs can be read.
CREATE TABLE person_keys (
    user_id     uuid PRIMARY KEY,
    wrapped_key bytea       NOT NULL,
    master_id   text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

DROP TABLE signing_keys;

-- The keys of access tokens. One signs (active); those before it are still published, so that verifiers know them as
-- long as their tokens live; retired ones are good no more and have no secret half.
CREATE TABLE signing_keys (
    kid          text PRIMARY KEY,
    state        text        NOT NULL CHECK (state IN ('active', 'published', 'retired')),
    public_key   bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    wrapped_seed bytea,
    master_id    text        NOT NULL,
    created_at   timestamptz NOT NULL,
    rotated_at   timestamptz,
    retired_at   timestamptz,
    CHECK ((state = 'retired') = (wrapped_seed IS NULL))
);

CREATE UNIQUE INDEX one_active_signing_key ON signing_keys (state) WHERE state = 'active';

DROP TABLE users;

-- Read model of the users, for lists. Name and address are ciphertext, and gone with their person.
CREATE TABLE users (
    user_id    uuid PRIMARY KEY,
    name       text,
    email      text,
    role       text        NOT NULL,
    status     text        NOT NULL CHECK (status IN ('active', 'locked', 'deleted')),
    created_at timestamptz NOT NULL,
    sequence   bigint      NOT NULL,
    CHECK (status <> 'deleted' OR (name IS NULL AND email IS NULL))
);

DELETE FROM checkpoints WHERE follower = 'users';
