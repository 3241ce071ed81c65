-- One service's role and database. Executed by roles.sh, once for each service.
\getenv password SERVICE_PASSWORD

SELECT format('CREATE ROLE %I', :'service')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'service')
\gexec
ALTER ROLE :"service" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';

-- For the age of the oldest transaction, whoever's it is: it holds up every reader of events.
GRANT pg_read_all_stats TO :"service";

SELECT format('CREATE DATABASE %I OWNER sagashop_owner', :'database')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
\gexec

-- Nobody enters another's database.
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"service", sagashop_reader;
