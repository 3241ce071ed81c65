-- The shop's own numbers, when a product left the catalogue, and a search by the beginnings of words.
ALTER TABLE products
    ADD COLUMN sku        text,
    ADD COLUMN deleted_at timestamptz;

UPDATE products SET deleted_at = updated_at WHERE deleted;

-- From now on the name's words, folded by the service, with one space between them. Rows from before
-- are folded when the service starts.
UPDATE products SET name_folded = '';

-- No dictionary and no extension: the words are the lexemes.
CREATE INDEX products_by_word ON products USING gin (array_to_tsvector(string_to_array(name_folded, ' ')))
 WHERE NOT deleted;
CREATE INDEX products_by_category ON products (category, created_at, id) WHERE NOT deleted;
CREATE INDEX products_by_price ON products (price_minor) WHERE NOT deleted;
CREATE INDEX products_deleted ON products (created_at, id) WHERE deleted;
