"""Rate, errors and duration of every service."""

from panels import dashboard, graph, logs, stat, to_logs, to_traces, traces, variable
from queries import increase, latest, quantile, rate

OF = 'service=~"$service"'
ASKED = OF + ', endpoint!~"/metrics|/health.*"'
# An answer that waits for news on purpose tells nothing about speed.
TIMED = OF + ', endpoint!~"/metrics|/health.*|/orders/{id}/events"'
LINKS = [
    to_logs("Logs of ${__field.labels.service}", '{job="sagashop", role="${__field.labels.service}"}'),
    to_traces("Traces of ${__field.labels.service}", {"service": "sagashop-${__field.labels.service}"}),
]
ALL = rate("http_requests_total", "service", ASKED)
FAILED = ASKED + ', status=~"5.."'
HIT = 'result="hit"'
BAD = f"({rate('http_requests_total', 'service', FAILED)} or 0 * {ALL})"


BOARD = dashboard(
    "services",
    "Services",
    "Requests, errors and durations, by service and route.",
    [
        (
            "Now",
            [
                stat("Requests a second", "HTTP, over the chosen services.", f"sum({ALL})", "reqps", decimals=1),
                stat(
                    "Answered",
                    "With something else than 5xx, in the shown time.",
                    f"1 - ({increase('http_requests_total', of=FAILED)} or vector(0)) "
                    f"/ {increase('http_requests_total', of=ASKED)}",
                    "percentunit",
                    good=0.999,
                    decimals=3,
                ),
                stat(
                    "95 of 100 within",
                    "HTTP, over the chosen services.",
                    quantile(0.95, "http_request_duration_seconds", "", TIMED),
                    "s",
                ),
                stat("In flight", "HTTP requests that are being handled.", f"sum(http_requests_in_flight{{{OF}}})"),
                stat(
                    "Turned away",
                    "503 a second, because more was asked for than could be done in time.",
                    rate("http_requests_shed_total"),
                    "reqps",
                    bad=1,
                ),
                stat("Instances", "That answer.", 'sum(up{job="sagashop"})'),
            ],
        ),
        (
            "HTTP",
            [
                graph("Rate", "Requests a second.", ("{{service}}", ALL), unit="reqps", stacked=True, links=LINKS),
                graph(
                    "Errors",
                    "Share of 5xx.",
                    ("{{service}}", f"{BAD} / {ALL}"),
                    unit="percentunit",
                    bound=0.001,
                    links=LINKS,
                ),
                graph(
                    "Duration",
                    "95 of 100 take no longer.",
                    ("{{service}}", quantile(0.95, "http_request_duration_seconds", "service", TIMED)),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Rate by route",
                    "Requests a second.",
                    (
                        "{{service}} {{method}} {{endpoint}}",
                        rate("http_requests_total", "service, method, endpoint", ASKED),
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "By status",
                    "Answers a second.",
                    ("{{status}}", rate("http_requests_total", "status", ASKED)),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Duration by route",
                    "95 of 100 take no longer.",
                    (
                        "{{service}} {{method}} {{endpoint}}",
                        quantile(0.95, "http_request_duration_seconds", "service, method, endpoint", TIMED),
                    ),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "In flight and waiting",
                    "Requests that are handled, or wait for a place.",
                    ("{{service}}", f"sum by (service) (http_requests_in_flight{{{OF}}})"),
                    ("{{service}} waiting", f"sum by (service) (http_requests_waiting{{{OF}}})"),
                    links=LINKS,
                ),
                graph(
                    "Turned away",
                    "A second.",
                    ("{{service}}", rate("http_requests_shed_total", "service")),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Gateway without an answer",
                    "Requests a second that a service did not answer.",
                    (
                        "{{upstream}} {{kind}}",
                        rate("gateway_upstream_failures_total", "upstream, kind"),
                    ),
                    unit="reqps",
                ),
            ],
        ),
        (
            "gRPC",
            [
                graph(
                    "Rate",
                    "Calls a second.",
                    (
                        "{{rpc_service}}/{{rpc_method}}",
                        rate("grpc_requests_total", "rpc_service, rpc_method"),
                    ),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "By code",
                    "Answers a second.",
                    ("{{code}}", rate("grpc_requests_total", "code")),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Duration",
                    "95 of 100 take no longer.",
                    (
                        "{{rpc_service}}/{{rpc_method}}",
                        quantile(0.95, "grpc_request_duration_seconds", "rpc_service, rpc_method"),
                    ),
                    unit="s",
                ),
            ],
        ),
        (
            "What they lean on",
            [
                graph(
                    "Circuits",
                    "1: open, calls are rejected unasked.",
                    ("{{service}} to {{to}}", latest("circuit_breaker_open", "service, to")),
                    bound=1,
                    links=LINKS,
                ),
                graph(
                    "Calls through circuits",
                    "A second.",
                    (
                        "{{service}} to {{to}}: {{outcome}}",
                        rate("circuit_breaker_calls_total", "service, to, outcome"),
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Payment provider",
                    "95 of 100 calls take no longer.",
                    (
                        "{{call}} {{result}}",
                        quantile(0.95, "payment_provider_call_seconds", "call, result"),
                    ),
                    unit="s",
                ),
                graph(
                    "Products found in",
                    "Reads a second.",
                    ("{{found}}", rate("product_cache_reads_total", "found")),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Other caches: hits",
                    "Share of the reads.",
                    (
                        "{{service}} {{cache}}",
                        f"{rate('cache_reads_total', 'service, cache', HIT)} "
                        f"/ {rate('cache_reads_total', 'service, cache')}",
                    ),
                    unit="percentunit",
                    links=LINKS,
                ),
                graph(
                    "Notifications",
                    "Not yet sent; and attempts a second that failed.",
                    ("{{channel}} {{status}}", latest("notifications_waiting", "channel, status")),
                    (
                        "{{channel}} failed: {{failure}}",
                        rate("notification_attempts_failed_total", "channel, failure"),
                    ),
                ),
            ],
        ),
        (
            "Logs and traces",
            [
                logs(
                    "Answers of the chosen services",
                    "A line for each request, where the access log is on; 5xx always.",
                    '{job="sagashop", role=~"$service"} | json | target="access"',
                ),
                traces(
                    "Latest that failed",
                    "Traces with an error in the order service.",
                    {"service": "sagashop-order", "tags": "error=true"},
                ),
            ],
        ),
    ],
    [variable("service", "Service", "label_values(http_requests_total, service)")],
)
