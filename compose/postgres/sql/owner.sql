-- Who owns all databases of this server, and who reads them. Executed by roles.sh.
\getenv owner_password OWNER_DB_PASSWORD
\getenv reader_password READER_DB_PASSWORD

SELECT format('CREATE ROLE %I', name)
  FROM unnest(ARRAY['sagashop_owner', 'sagashop_reader']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE sagashop_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
ALTER ROLE sagashop_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'reader_password';
ALTER ROLE sagashop_reader SET default_transaction_read_only = on;
GRANT pg_read_all_data, pg_monitor TO sagashop_reader;
