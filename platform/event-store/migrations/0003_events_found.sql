-- For operators: finding events by their story and by their time (docs/decisions/0017-finding-events.md).
--
-- Each is made here unless it is there already. Making them holds appends up for as long as it takes; on a large store
-- that runs, make them by hand before, under the same names, with CREATE INDEX CONCURRENTLY.

-- A service's own statements are given less.
SET LOCAL statement_timeout = '15min';

-- One story is a dozen events or two, one after the other: equal keys share an entry, and new ones come at the end.
CREATE INDEX IF NOT EXISTS events_correlation ON events ((metadata ->> 'correlation_id'));

-- Both rise with the table, nearly: a range of pages has a range of them.
CREATE INDEX IF NOT EXISTS events_recorded ON events USING brin (recorded_at, position)
    WITH (pages_per_range = 32, autosummarize = on);
