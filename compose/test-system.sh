#!/bin/sh
# test-system.sh  walks a running shop as a customer and as an operator would, and prints what it saw. Exits with 1 when
# something is not as it should be, with 2 when it is asked for something that it does not know.
#
#   compose/test-system.sh                                    what compose.yaml or `sagashop up` started on this machine
#   compose/test-system.sh --port-offset 1000                 `sagashop up --port-offset 1000`
#   compose/test-system.sh --base https://shop.example --gateway-only
#
#   --base URL         the gateway                            (BASE, http://localhost:8000)
#   --port-offset N    added to every port                    (PORT_OFFSET, 0)
#   --gateway-only     the services' own ports cannot be reached from here
#   --jaeger URL       where the orders' traces must be       (JAEGER_URL; else looked for at port 16686 of the gateway's
#                      host, and left out where there are none)
#   --patience N       seconds that an order may take         (PATIENCE, 60)
#
# Needs curl and nothing else. It registers a customer and places two orders; the second is declined and undone.
set -u

base=${BASE:-}
offset=${PORT_OFFSET:-0}
jaeger=${JAEGER_URL:-}
patience=${PATIENCE:-60}
gateway_only=
while [ $# -gt 0 ]; do
    case $1 in
        --base) base=${2:?--base needs a URL}; shift ;;
        --port-offset) offset=${2:?--port-offset needs a number}; shift ;;
        --gateway-only) gateway_only=yes ;;
        --jaeger) jaeger=${2:?--jaeger needs a URL}; shift ;;
        --patience) patience=${2:?--patience needs a number}; shift ;;
        -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 0 ;;
        *) echo "test-system.sh: $1 is not known (see --help)" >&2; exit 2 ;;
    esac
    shift
done
base=${base:-http://localhost:$((8000 + offset))}
base=${base%/}
api=$base/api/v1
origin=$(echo "$base" | sed 's#^\(https\{0,1\}://[^/]*[^/:0-9]\):[0-9]*$#\1#; s#^\(https\{0,1\}://[0-9.]*\):[0-9]*$#\1#')
command -v curl >/dev/null || { echo "test-system.sh: curl is missing" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
body=$folder/body
failed=0
passed=0

# --- What is said and asked ---------------------------------------------------------------------------------------

row() { printf '%-7s %-34s %s\n' "$1" "$2" "$3"; }
pass() { passed=$((passed + 1)); row ok "$1" "${2:-}"; }
skip() { row skipped "$1" "$2"; }
fail() { failed=$((failed + 1)); row FAILED "$1" "$2"; }
# What follows needs what has just failed.
give_up() { fail "$1" "$2"; finish; }
finish() {
    echo
    if [ "$failed" -eq 0 ]; then
        echo "All $passed checks passed."
        exit 0
    fi
    echo "$failed of $((passed + failed)) checks failed."
    exit 1
}

# call METHOD URL [argument of curl…]: the answer's status in $status, its body in the file $body.
call() {
    method=$1 url=$2
    shift 2
    status=$(curl -sS --max-time 30 -o "$body" -w '%{http_code}' -X "$method" "$@" "$url" 2>"$folder/error") || {
        status=000
        cp "$folder/error" "$body"
    }
}
json() { call "$1" "$2" -H 'Content-Type: application/json' -H "Authorization: Bearer ${token:-}" -d "$3"; }
get() { call GET "$1" -H "Authorization: Bearer ${token:-}"; }
# The first field of this name in the answer, text or number.
field() {
    grep -oE "\"$1\" *: *(\"[^\"]*\"|[0-9.]+)" "$body" | head -n 1 | sed "s/^\"$1\" *: *//; s/^\"//; s/\"\$//"
}
told() { echo "$status $(head -c 200 "$body" | tr '\n' ' ')"; }
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# Waits until an order is no longer pending; how it ended in $outcome.
follow() {
    deadline=$(($(date +%s) + patience))
    outcome=pending
    while [ "$outcome" = pending ] && [ "$(date +%s)" -lt "$deadline" ]; do
        get "$api/orders/$1?wait=5s"
        outcome=$(field status)
        [ "$status" = 200 ] || { outcome=; return; }
    done
}
stock() { get "$api/products/$product"; field stock; }

# --- Health -------------------------------------------------------------------------------------------------------

row result check saw
row ------- ----- ---
call GET "$base/health"
if [ "$status" = 200 ]; then pass "gateway: health"; else give_up "gateway: health" "$(told) at $base"; fi
parts="user:8080 product:8081 order:8082 payment:8083 notification:8084 orchestrator:8085"
if [ -n "$gateway_only" ]; then
    skip "services: health" "their ports are not for everybody"
else
    for part in $parts; do
        name=${part%:*}
        call GET "$origin:$((${part#*:} + offset))/health/ready"
        if [ "$status" = 200 ]; then pass "$name: health"; else fail "$name: health" "$(told)"; fi
    done
fi

# --- A customer ---------------------------------------------------------------------------------------------------

email=test-$(random 8)@example.com
password=$(random 12)
json POST "$api/register" "{\"name\":\"System Test\",\"email\":\"$email\",\"password\":\"$password\"}"
if [ "$status" = 201 ]; then pass register "$email"; else give_up register "$(told)"; fi
json POST "$api/login" "{\"email\":\"$email\",\"password\":\"not $password\"}"
if [ "$status" = 401 ]; then pass "login: wrong password is refused"; else fail "login: wrong password is refused" "$(told)"; fi
json POST "$api/login" "{\"email\":\"$email\",\"password\":\"$password\"}"
token=$(field token)
if [ "$status" = 200 ] && [ -n "$token" ]; then pass login; else give_up login "$(told)"; fi
get "$api/profile"
if [ "$status" = 200 ] && [ "$(field email)" = "$email" ]; then pass profile; else fail profile "$(told)"; fi

# --- The catalogue ------------------------------------------------------------------------------------------------

call GET "$api/products?limit=50"
product=$(tr '{' '\n' <"$body" | grep '"stock" *: *[1-9]' | head -n 1 | sed 's/.*"id" *: *"\([^"]*\)".*/\1/')
if [ "$status" = 200 ] && [ -n "$product" ]; then pass products; else give_up "products" "nothing is in stock: $(told)"; fi
get "$api/products/$product"
if [ "$status" = 200 ]; then pass "product" "$(field name), $(field stock) in stock"; else fail product "$(told)"; fi

# --- An order to its end ------------------------------------------------------------------------------------------

trace=$(random 16)
key=$(random 8)
ask="{\"product_id\":\"$product\",\"quantity\":1,\"payment_method\":\"tok_ok\"}"
place() {
    call POST "$api/orders" -H 'Content-Type: application/json' -H "Authorization: Bearer $token" \
        -H "Idempotency-Key: $1" -H "traceparent: 00-$2-$(random 8)-01" -d "$3"
}
before=$(stock)
place "$key" "$trace" "$ask"
order=$(field id)
if [ "$status" = 201 ] && [ -n "$order" ]; then pass "order: placed" "$order"; else give_up "order: placed" "$(told)"; fi
place "$key" "$trace" "$ask"
if [ "$(field id)" = "$order" ]; then pass "order: the same key, the same order"; else fail "order: the same key, the same order" "$(told)"; fi
began=$(date +%s)
follow "$order"
if [ "$outcome" = confirmed ]; then
    pass "order: confirmed" "within $(($(date +%s) - began)) s"
else
    fail "order: confirmed" "it is ${outcome:-$(told)}"
fi
get "$api/orders/$order/history"
if [ "$status" = 200 ]; then pass "order: history"; else fail "order: history" "$(told)"; fi
call GET "$api/orders/$order"
if [ "$status" = 401 ]; then pass "order: nobody else's to see"; else fail "order: nobody else's to see" "$(told)"; fi

# --- A payment that fails, and what is undone ---------------------------------------------------------------------

declined=$(random 16)
between=$(stock)
place "$(random 8)" "$declined" "{\"product_id\":\"$product\",\"quantity\":1,\"payment_method\":\"tok_declined\"}"
undone=$(field id)
if [ "$status" = 201 ] && [ -n "$undone" ]; then pass "declined order: placed" "$undone"; else fail "declined order: placed" "$(told)"; fi
follow "$undone"
if [ "$outcome" = cancelled ]; then
    pass "declined order: cancelled" "$(field cancel_reason)"
else
    fail "declined order: cancelled" "it is ${outcome:-$(told)}"
fi
deadline=$(($(date +%s) + patience))
after=$(stock)
while [ "$after" != "$between" ] && [ "$(date +%s)" -lt "$deadline" ]; do
    sleep 1
    after=$(stock)
done
if [ "$after" = "$between" ]; then
    pass "declined order: stock is back" "$before before the first order, $after now"
else
    fail "declined order: stock is back" "$between before, $after now: or somebody else buys $product"
fi

# --- Metrics and traces -------------------------------------------------------------------------------------------

if [ -n "$gateway_only" ]; then
    skip "services: metrics" "their ports are not for everybody"
else
    for part in gateway:8000 $parts; do
        name=${part%:*}
        call GET "$origin:$((${part#*:} + offset))/metrics"
        if [ "$status" = 200 ] && grep -q '^http_requests_total{' "$body"; then
            pass "$name: metrics" "$(grep -c '^[a-z]' "$body") series"
        else
            fail "$name: metrics" "$(told)"
        fi
    done
fi

# Whether a trace has spans of each of these services; how many it has in $spans.
is_traced() {
    call GET "$jaeger/api/traces/$1"
    spans=$(grep -o '"spanID"' "$body" | wc -l | tr -d ' ')
    shift
    for name in "$@"; do
        grep -qE "\"serviceName\" *: *\"(sagashop-)?$name\"" "$body" || { missing=$name; return 1; }
    done
}
if [ -z "$jaeger" ]; then
    call GET "$origin:16686/api/services"
    if [ "$status" = 200 ]; then
        jaeger=$origin:16686
        found=yes
    fi
fi
if [ -z "$jaeger" ]; then
    skip traces "no Jaeger answers at $origin:16686; --jaeger names another"
else
    # A Jaeger that was only found may be another shop's.
    [ -z "${found:-}" ] || patience=15
    for traced in "confirmed:$trace" "declined:$declined"; do
        deadline=$(($(date +%s) + patience))
        while ! is_traced "${traced#*:}" order orchestrator product payment && [ "$(date +%s)" -lt "$deadline" ]; do
            sleep 1
        done
        if is_traced "${traced#*:}" order orchestrator product payment; then
            pass "trace: ${traced%:*} order" "$spans spans: $jaeger/trace/${traced#*:}"
        elif [ -n "${found:-}" ] && [ "$spans" -eq 0 ]; then
            skip "trace: ${traced%:*} order" "$jaeger has nothing of this shop; --jaeger insists on it"
        else
            fail "trace: ${traced%:*} order" "$spans spans, none of $missing: $jaeger/trace/${traced#*:}"
        fi
    done
fi
finish
