CREATE TABLE topics (
    name       text COLLATE "C" PRIMARY KEY,
    partitions integer NOT NULL CHECK (partitions > 0)
);

-- One row per partition is locked and rewritten by every publish: room in the page keeps the new
-- versions there and out of the index.
CREATE TABLE topic_partitions (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text COLLATE "C" NOT NULL REFERENCES topics (name),
    partition   integer NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
) WITH (fillfactor = 20);

-- The number of a partition instead of its name: the key of every record is 12 bytes.
-- Keys are bytea because text cannot hold U+0000. No foreign key: a record is written in the same
-- statement that has locked and advanced its partition's row.
CREATE TABLE topic_records (
    partition_id integer NOT NULL,
    "offset"     bigint NOT NULL,
    timestamp_ms bigint NOT NULL,
    key          bytea NOT NULL,
    headers      bytea NOT NULL,
    value        bytea NOT NULL,
    PRIMARY KEY (partition_id, "offset")
);

-- For people: the log with names and readable text.
CREATE VIEW topic_log AS
SELECT p.topic, p.partition, r."offset", to_timestamp(r.timestamp_ms / 1000.0) AS produced_at,
       encode(r.key, 'escape') AS key, encode(r.headers, 'escape') AS headers, encode(r.value, 'escape') AS value
FROM topic_records r
JOIN topic_partitions p ON p.id = r.partition_id;
