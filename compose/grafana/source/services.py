"""Rate, errors and duration of every service."""

from panels import dashboard, graph, logs, stat, to_logs, to_traces, traces, variable

OF = 'service=~"$service"'
ASKED = OF + ', endpoint!~"/metrics|/health.*"'
# An answer that waits for news on purpose tells nothing about speed.
TIMED = OF + ', endpoint!~"/metrics|/health.*|/orders/{id}/events"'
LINKS = [
    to_logs("Logs of ${__field.labels.service}", '{job="sagashop", role="${__field.labels.service}"}'),
    to_traces("Traces of ${__field.labels.service}", {"service": "${__field.labels.service}"}),
]
ALL = f"sum by (service) (rate(http_requests_total{{{ASKED}}}[$__rate_interval]))"
BAD = f'(sum by (service) (rate(http_requests_total{{{ASKED}, status=~"5.."}}[$__rate_interval])) or 0 * {ALL})'


def within(share, by):
    return f"histogram_quantile({share}, sum by (le, {by}) (rate(http_request_duration_seconds_bucket{{{TIMED}}}[$__rate_interval])))"


BOARD = dashboard(
    "services",
    "Services",
    "Requests, errors and durations, by service and route.",
    [
        (
            "Now",
            [
                stat("Requests a second", "HTTP, over the chosen services.", f"sum({ALL})", "reqps", decimals=1),
                stat("Answered", "With something else than 5xx, in the shown time.", f'1 - (sum(increase(http_requests_total{{{ASKED}, status=~"5.."}}[$__range])) or vector(0)) / sum(increase(http_requests_total{{{ASKED}}}[$__range]))', "percentunit", good=0.999, decimals=3),
                stat("95 of 100 within", "HTTP, over the chosen services.", f"histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{{TIMED}}}[$__rate_interval])))", "s"),
                stat("In flight", "HTTP requests that are being handled.", f"sum(http_requests_in_flight{{{OF}}})"),
                stat("Turned away", "503 a second, because more was asked for than could be done in time.", "sum(rate(http_requests_shed_total[$__rate_interval]))", "reqps", bad=1),
                stat("Instances", "That answer.", 'sum(up{job="sagashop"})'),
            ],
        ),
        (
            "HTTP",
            [
                graph("Rate", "Requests a second.", ("{{service}}", ALL), unit="reqps", stacked=True, links=LINKS),
                graph("Errors", "Share of 5xx.", ("{{service}}", f"{BAD} / {ALL}"), unit="percentunit", bound=0.001, links=LINKS),
                graph("Duration", "95 of 100 take no longer.", ("{{service}}", within(0.95, "service")), unit="s", links=LINKS),
                graph("Rate by route", "Requests a second.", ("{{service}} {{method}} {{endpoint}}", f"sum by (service, method, endpoint) (rate(http_requests_total{{{ASKED}}}[$__rate_interval]))"), unit="reqps", links=LINKS),
                graph("By status", "Answers a second.", ("{{status}}", f"sum by (status) (rate(http_requests_total{{{ASKED}}}[$__rate_interval]))"), unit="reqps", stacked=True),
                graph("Duration by route", "95 of 100 take no longer.", ("{{service}} {{method}} {{endpoint}}", within(0.95, "service, method, endpoint")), unit="s", links=LINKS),
                graph("In flight and waiting", "Requests that are handled, or wait for a place.", ("{{service}}", f"sum by (service) (http_requests_in_flight{{{OF}}})"), ("{{service}} waiting", f"sum by (service) (http_requests_waiting{{{OF}}})"), links=LINKS),
                graph("Turned away", "A second.", ("{{service}}", "sum by (service) (rate(http_requests_shed_total[$__rate_interval]))"), unit="reqps", links=LINKS),
                graph("Gateway without an answer", "Requests a second that a service did not answer.", ("{{upstream}} {{kind}}", "sum by (upstream, kind) (rate(gateway_upstream_failures_total[$__rate_interval]))"), unit="reqps"),
            ],
        ),
        (
            "gRPC",
            [
                graph("Rate", "Calls a second.", ("{{rpc_service}}/{{rpc_method}}", "sum by (rpc_service, rpc_method) (rate(grpc_requests_total[$__rate_interval]))"), unit="reqps", stacked=True),
                graph("By code", "Answers a second.", ("{{code}}", "sum by (code) (rate(grpc_requests_total[$__rate_interval]))"), unit="reqps", stacked=True),
                graph("Duration", "95 of 100 take no longer.", ("{{rpc_service}}/{{rpc_method}}", "histogram_quantile(0.95, sum by (le, rpc_service, rpc_method) (rate(grpc_request_duration_seconds_bucket[$__rate_interval])))"), unit="s"),
            ],
        ),
        (
            "What they lean on",
            [
                graph("Circuits", "1: open, calls are rejected unasked.", ("{{service}} to {{to}}", "max by (service, to) (circuit_breaker_open)"), bound=1, links=LINKS),
                graph("Calls through circuits", "A second.", ("{{service}} to {{to}}: {{outcome}}", "sum by (service, to, outcome) (rate(circuit_breaker_calls_total[$__rate_interval]))"), unit="reqps", links=LINKS),
                graph("Payment provider", "95 of 100 calls take no longer.", ("{{call}} {{result}}", "histogram_quantile(0.95, sum by (le, call, result) (rate(payment_provider_call_seconds_bucket[$__rate_interval])))"), unit="s"),
                graph("Products found in", "Reads a second.", ("{{found}}", "sum by (found) (rate(product_cache_reads_total[$__rate_interval]))"), unit="reqps", stacked=True),
                graph("Other caches: hits", "Share of the reads.", ("{{service}} {{cache}}", 'sum by (service, cache) (rate(cache_reads_total{result="hit"}[$__rate_interval])) / sum by (service, cache) (rate(cache_reads_total[$__rate_interval]))'), unit="percentunit", links=LINKS),
                graph("Notifications", "Not yet sent; and attempts a second that failed.", ("{{channel}} {{status}}", "max by (channel, status) (notifications_waiting)"), ("{{channel}} failed: {{failure}}", "sum by (channel, failure) (rate(notification_attempts_failed_total[$__rate_interval]))")),
            ],
        ),
        (
            "Logs and traces",
            [
                logs("Answers of the chosen services", "A line for each request, where the access log is on; 5xx always.", '{job="sagashop", role=~"$service"} | json | target="access"'),
                traces("Latest that failed", "Traces with an error in the order service.", {"service": "order", "tags": "error=true"}),
            ],
        ),
    ],
    [variable("service", "Service", "label_values(http_requests_total, service)")],
)  # fmt: skip
