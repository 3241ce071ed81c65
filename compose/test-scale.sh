#!/bin/sh
# test-scale.sh  runs the shop of compose.yaml with three order and two payment services, kills one of each with
# `docker kill` while orders are placed, and holds the shop to what it promises: every order that was accepted ends,
# the partitions are taken over, and `sagashop audit` finds nothing. Exits with 1 when it is otherwise.
#
#   compose/test-scale.sh [ORDERS]      60 orders unless said otherwise
#
# Needs docker compose and curl. The shop goes on running afterwards, scaled as it is then.
set -eu
cd "$(dirname "$0")"

orders=${1:-60}
base=${BASE:-http://localhost:8000}
api=$base/api/v1
patience=${PATIENCE:-120}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

compose() { docker compose -f compose.yaml "$@"; }
say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
die() { say "FAILED: $*" >&2; exit 1; }
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
field() { grep -oE "\"$1\" *: *\"[^\"]*\"" "$2" | head -n 1 | sed 's/.*: *"//; s/"$//'; }
query() { compose exec -T postgres psql -U postgres -X -A -t -d "$1" -c "$2"; }
# How many partitions each living owner has of a database's consumers of commands and events.
shares() {
    query "$1" "SELECT consumer || ': ' || string_agg(n::text, '+' ORDER BY n) FROM
        (SELECT consumer, owner, count(*) AS n FROM consumer_offsets
          WHERE lease_until > clock_timestamp() GROUP BY consumer, owner) AS held GROUP BY consumer ORDER BY 1"
}
# Waits until the partitions of a database's consumers belong to so many living owners.
shared_by() {
    deadline=$(($(date +%s) + patience))
    until [ "$(query "$1" "SELECT count(DISTINCT owner) FROM consumer_offsets WHERE lease_until > clock_timestamp()")" = "$2" ] &&
        [ "$(query "$1" "SELECT count(*) FROM consumer_offsets WHERE owner IS NULL OR lease_until < clock_timestamp()")" = 0 ]; do
        [ "$(date +%s)" -lt "$deadline" ] || die "the partitions in $1 are not shared by $2: $(shares "$1" | tr '\n' ' ')"
        sleep 1
    done
}
# Places an order; whatever goes wrong on the way, it is sent again with its key until it is answered for good.
place() {
    key=scale-$(random 8)
    deadline=$(($(date +%s) + patience))
    while [ "$(date +%s)" -lt "$deadline" ]; do
        status=$(curl -s -o "$folder/placed-$1" -w '%{http_code}' --max-time 20 -X POST "$api/orders" \
            -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -H "Idempotency-Key: $key" \
            -d "{\"product_id\":\"$product\",\"quantity\":1}") || status=000
        case $status in
            201) field id "$folder/placed-$1" >"$folder/order-$1"; return ;;
            000 | 409 | 429 | 5??) echo "$status" >>"$folder/again"; sleep 1 ;;
            *) return ;;
        esac
    done
}

say "scaling to three order and two payment services"
compose up -d --wait --scale order=3 --scale payment=2 >"$folder/up" 2>&1 || { cat "$folder/up"; die "it does not start"; }
shared_by orderdb 3
shared_by paymentdb 2
say "order:   $(shares orderdb | tr '\n' ' ')"
say "payment: $(shares paymentdb | tr '\n' ' ')"

email=scale-$(random 8)@example.com
password=$(random 12)
curl -sf -o /dev/null "$api/register" -H 'Content-Type: application/json' \
    -d "{\"name\":\"Scale Test\",\"email\":\"$email\",\"password\":\"$password\"}" || die "nobody can register at $api"
curl -sf -o "$folder/login" "$api/login" -H 'Content-Type: application/json' \
    -d "{\"email\":\"$email\",\"password\":\"$password\"}" || die "nobody can log in"
token=$(field token "$folder/login")
curl -sf -o "$folder/products" "$api/products?limit=50" || die "there are no products"
product=$(tr '{' '\n' <"$folder/products" | grep '"stock" *: *[1-9][0-9]' | head -n 1 | sed 's/.*"id" *: *"\([^"]*\)".*/\1/')
[ -n "$product" ] || die "nothing is in stock"

order_victim=$(compose ps -q order | head -n 1)
payment_victim=$(compose ps -q payment | head -n 1)
n=0
while [ "$n" -lt "$orders" ]; do
    n=$((n + 1))
    place "$n" &
    if [ "$n" -eq $((orders / 3)) ]; then
        say "killing an order service and a payment service, $n orders sent"
        docker kill "$order_victim" "$payment_victim" >/dev/null
    fi
    # Four at a time, more or less: a customer of one address is not to be taken for a flood.
    [ $((n % 4)) -ne 0 ] || sleep 1
done
wait
placed=$(find "$folder" -name 'order-*' -size +0 | wc -l | tr -d ' ')
[ "$placed" -eq "$orders" ] || die "$placed of $orders orders were accepted: $(cat "$folder"/placed-* | grep -v '"status":"' | head -c 300)"
say "all $placed were accepted, $(cat "$folder/again" 2>/dev/null | wc -l | tr -d ' ') tries had to be repeated"

confirmed=0
cancelled=0
deadline=$(($(date +%s) + patience))
for file in "$folder"/order-*; do
    id=$(cat "$file")
    status=pending
    while [ "$status" = pending ]; do
        [ "$(date +%s)" -lt "$deadline" ] || die "order $id has not ended within $patience s"
        curl -s -o "$folder/order" --max-time 20 "$api/orders/$id?wait=5s" -H "Authorization: Bearer $token" || true
        status=$(field status "$folder/order")
        case $status in confirmed | cancelled) ;; *) status=pending; sleep 1 ;; esac
    done
    eval "$status=\$(($status + 1))"
done
say "all ended: $confirmed confirmed, $cancelled cancelled"
[ "$confirmed" -gt 0 ] || die "none was confirmed"

# Docker starts nothing again that was killed by hand.
running=$(compose ps -q order | wc -l)
shared_by orderdb "$running"
shared_by paymentdb "$(compose ps -q payment | wc -l)"
say "taken over. order:   $(shares orderdb | tr '\n' ' ')"
say "taken over. payment: $(shares paymentdb | tr '\n' ' ')"

deadline=$(($(date +%s) + patience))
until compose run --rm -T cli audit >"$folder/audit" 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || { cat "$folder/audit"; die "the audit finds something"; }
    sleep 2
done
say "the audit finds nothing"
tail -n 15 "$folder/audit"
