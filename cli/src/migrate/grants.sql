-- What a service may do in its own database, said anew after every migration by the owner of the tables.
--
-- Events are added and read, and nothing else: they are the truth, and what has happened is not changed. Which
-- migrations were applied is read only. All other tables are the service's own: read models, checkpoints, offsets.
DO $$
DECLARE
    grantee  CONSTANT text := current_setting('sagashop.grantee');
    relation record;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass AS name,
               CASE
                   WHEN c.relname = 'events' THEN 'SELECT, INSERT'
                   WHEN c.relname = '_sqlx_migrations' OR c.relkind IN ('v', 'm') THEN 'SELECT'
                   ELSE 'SELECT, INSERT, UPDATE, DELETE'
               END AS rights
          FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %I', relation.name, grantee);
        EXECUTE format('GRANT %s ON TABLE %s TO %I', relation.rights, relation.name, grantee);
    END LOOP;
END
$$;
