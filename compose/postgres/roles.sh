#!/bin/sh
# The database roles and the databases, made by the image at its first start. It may be run again, for example to set
# passwords that have changed:
#
#   docker compose -f compose/compose.yaml exec postgres /docker-entrypoint-initdb.d/roles.sh
#
# sagashop_owner    owns the databases and their tables: migrates, and does nothing else
# <part>_service    what a service runs as: works in its own database, and may add to its events but never change them
# sagashop_reader   reads everything: `sagashop audit`, `sagashop doctor`
#
# What a service may do in its tables is said by `sagashop migrate --grant-to`, after each migration.
set -eu
# What is there already is no news.
export PGOPTIONS="-c client_min_messages=warning"

sql=$(dirname "$0")/sql
run() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres "$@"
}

run --file "$sql/owner.sql"
for part in ${SHOP_PARTS:-user product order payment notification orchestrator}; do
    case $part in
        orchestrator) database=sagadb ;;
        *) database=${part}db ;;
    esac
    variable=$(echo "$part" | tr '[:lower:]' '[:upper:]')_DB_PASSWORD
    eval "SERVICE_PASSWORD=\${$variable:?is not set}"
    export SERVICE_PASSWORD
    run --set "service=${part}_service" --set "database=$database" --file "$sql/service.sql"
done
