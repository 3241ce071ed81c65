-- What operators do about dead letters.

-- How often the record was tried, and how often an operator has changed it: whoever handles an older one writes nothing.
ALTER TABLE dead_letters
    ADD COLUMN attempts integer NOT NULL DEFAULT 1 CHECK (attempts >= 0),
    ADD COLUMN revision integer NOT NULL DEFAULT 0 CHECK (revision >= 0);

-- Keys whose letters are to be handled again, by whoever holds their partition.
CREATE TABLE dead_letter_retries (
    consumer     text NOT NULL,
    topic        text NOT NULL,
    key          text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, topic, key)
);
