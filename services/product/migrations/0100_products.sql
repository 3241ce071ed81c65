-- The catalogue with its stock, as queries read it. Filled by the projection alone, from the events
-- of products and stock; a row of a deleted product stays, so that cursors and audits find it.
CREATE TABLE products (
    id               uuid        PRIMARY KEY,
    name             text        NOT NULL,
    -- The name in lower case: what a search looks through.
    name_folded      text        NOT NULL,
    price_minor      bigint      NOT NULL,
    currency         text        NOT NULL,
    category         text,
    -- available + reserved + sold = initial + restocked.
    available        bigint      NOT NULL DEFAULT 0,
    reserved         bigint      NOT NULL DEFAULT 0,
    sold             bigint      NOT NULL DEFAULT 0,
    initial          bigint      NOT NULL DEFAULT 0,
    restocked        bigint      NOT NULL DEFAULT 0,
    deleted          boolean     NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    -- The last event of each stream that the row contains.
    product_sequence bigint      NOT NULL,
    stock_sequence   bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Pages of the catalogue. Stock, which changes with every order, is in no index.
CREATE INDEX products_in_order ON products (created_at, id) WHERE NOT deleted;
