-- Where an order goes, as the user service's address book knows it.
ALTER TABLE orders ADD COLUMN address_id uuid;
