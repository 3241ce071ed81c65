"""The shop as its owner sees it."""

from panels import bars, dashboard, graph, heatmap, log_graph, logs, stat, to_logs, to_traces, traces

FAILED = '{job="sagashop", level=~"(?i)warn|error"}'
PLACED = {"service": "order", "operation": "POST /orders"}
CONFIRM = 'histogram_quantile({}, sum by (le) (rate(order_fulfilment_seconds_bucket{{outcome="confirmed"}}[$__rate_interval])))'
ENDED = "sum(increase(orders_ended_total{}[$__range]))"
LINKS = [to_traces("Traces of orders", PLACED), to_logs("Warnings and errors", FAILED)]

BOARD = dashboard(
    "overview",
    "Shop overview",
    "Orders: how many, how they end, and how long it takes.",
    [
        (
            "Now",
            [
                stat("Orders a second", "Accepted by the order service.", "sum(rate(orders_placed_total[$__rate_interval]))", "reqps", decimals=2),
                stat(
                    "Confirmed",
                    "Of the orders that ended in the shown time; the others were cancelled.",
                    ENDED.format('{outcome="confirmed"}') + " / " + ENDED.format(""),
                    "percentunit",
                ),
                stat("Time to confirm", "95 of 100 orders are confirmed within this time.", CONFIRM.format(0.95), "s", bad=10),
                stat("Under way", "Orders that have not ended.", "sum(max by (saga, state) (saga_in_flight))"),
                stat("Stuck", "Sagas that wait for an operator.", 'sum(max by (saga) (saga_in_flight{state="stuck"}))', bad=1),
                stat("Alerts", "Firing now.", 'count(ALERTS{alertstate="firing"}) or vector(0)', bad=1),
            ],
        ),
        (
            "Orders",
            [
                graph(
                    "Placed and ended",
                    "Orders a second.",
                    ("placed", "sum(rate(orders_placed_total[$__rate_interval]))"),
                    ("{{outcome}}", "sum by (outcome) (rate(orders_ended_total[$__rate_interval]))"),
                    unit="reqps",
                    width=12,
                    links=LINKS,
                ),
                graph(
                    "Time to confirm",
                    "From the acceptance of an order to its confirmation.",
                    *((f"p{quantile * 100:.0f}", CONFIRM.format(quantile)) for quantile in (0.5, 0.95, 0.99)),
                    unit="s",
                    width=12,
                    links=LINKS,
                    bound=10,
                ),
                heatmap(
                    "All times to an end",
                    "Confirmed and cancelled orders.",
                    "sum by (le) (increase(order_fulfilment_seconds_bucket[$__rate_interval]))",
                ),
                graph(
                    "Why sagas turn back",
                    "Sagas a second that undo what was done.",
                    ("{{cause}}", "sum by (cause) (rate(saga_compensations_total[$__rate_interval]))"),
                    unit="reqps",
                    width=12,
                    stacked=True,
                    links=[to_traces("Traces with errors", {"service": "orchestrator", "tags": "error=true"})],
                ),
            ],
        ),
        (
            "What follows",
            [
                graph(
                    "Payments",
                    "By how they ended, a second.",
                    ("{{status}}", "sum by (status) (rate(payment_processed_total[$__rate_interval]))"),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Notifications",
                    "Sent, a second.",
                    ("{{event_type}}", "sum by (event_type) (rate(notifications_sent_total[$__rate_interval]))"),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Error budgets",
                    "How fast they burn: 1 spends the budget in exactly 30 days. Pages come at 14.4.",
                    ("{{service}}: {{slo}}", "slo:budget_burn:rate5m"),
                    bound=14.4,
                    links=[to_logs("Errors", '{job="sagashop", role="${__field.labels.service}", level=~"(?i)warn|error"}')],
                ),
            ],
        ),
        (
            "Logs and traces",
            [
                bars(
                    "Lines logged",
                    "In the shown time, by level.",
                    ("{{level}}", "sum by (level) (increase(log_lines_total[$__range]))"),
                    width=6,
                ),
                log_graph("Warnings and errors", "Lines a second.", "{{role}} {{level}}", f"sum by (role, level) (rate({FAILED}[$__auto]))", width=18),
                logs("Latest warnings and errors", "The trace of a line opens from its details.", FAILED),
                traces("Latest orders", "Each is the trace of one order, through all services.", PLACED),
            ],
        ),
    ],
)
