"""The shop as its owner sees it."""

from panels import bars, dashboard, graph, heatmap, log_graph, logs, stat, to_logs, to_traces, traces
from queries import increase, quantile, rate

FAILED = '{job="sagashop", level=~"(?i)warn|error"}'
PLACED = {"service": "sagashop-order", "operation": "POST /orders"}
UNDONE = {"service": "sagashop-orchestrator", "tags": "saga.direction=undo"}
CONFIRMED = 'outcome="confirmed"'
LINKS = [to_traces("Traces of orders", PLACED), to_logs("Warnings and errors", FAILED)]

BOARD = dashboard(
    "overview",
    "Shop overview",
    "Orders: how many, how they end, and how long it takes.",
    [
        (
            "Now",
            [
                stat(
                    "Orders a second",
                    "Accepted by the order service.",
                    rate("orders_placed_total"),
                    "reqps",
                    decimals=2,
                ),
                stat(
                    "Confirmed",
                    "Of the orders that ended in the shown time; the others were cancelled.",
                    f"{increase('orders_ended_total', of=CONFIRMED)} / {increase('orders_ended_total')}",
                    "percentunit",
                ),
                stat(
                    "Time to confirm",
                    "95 of 100 orders are confirmed within this time.",
                    quantile(0.95, "order_fulfilment_seconds", of=CONFIRMED),
                    "s",
                    bad=10,
                ),
                stat("Under way", "Orders that have not ended.", "sum(max by (saga, state) (saga_in_flight))"),
                stat(
                    "Stuck",
                    "Sagas that wait for an operator.",
                    'sum(max by (saga) (saga_in_flight{state="stuck"}))',
                    bad=1,
                ),
                stat("Alerts", "Firing now.", 'count(ALERTS{alertstate="firing"}) or vector(0)', bad=1),
            ],
        ),
        (
            "Orders",
            [
                graph(
                    "Placed and ended",
                    "Orders a second.",
                    ("placed", rate("orders_placed_total")),
                    ("{{outcome}}", rate("orders_ended_total", "outcome")),
                    unit="reqps",
                    width=12,
                    links=LINKS,
                ),
                graph(
                    "Time to confirm",
                    "From the acceptance of an order to its confirmation.",
                    *(
                        (f"p{share * 100:.0f}", quantile(share, "order_fulfilment_seconds", of=CONFIRMED))
                        for share in (0.5, 0.95, 0.99)
                    ),
                    unit="s",
                    width=12,
                    links=LINKS,
                    bound=10,
                ),
                heatmap(
                    "All times to confirm",
                    "Orders by how long they took.",
                    increase("order_fulfilment_seconds_bucket", "le", CONFIRMED, "$__rate_interval"),
                ),
                graph(
                    "Why sagas turn back",
                    "Sagas a second that undo what was done.",
                    ("{{cause}}", rate("saga_compensations_total", "cause")),
                    unit="reqps",
                    width=12,
                    stacked=True,
                    links=[to_traces("Traces of what turned back", UNDONE)],
                ),
            ],
        ),
        (
            "What follows",
            [
                graph(
                    "Payments",
                    "By how they ended, a second.",
                    ("{{status}}", rate("payment_processed_total", "status")),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Notifications",
                    "Sent, a second.",
                    ("{{event_type}}", rate("notifications_sent_total", "event_type")),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Error budgets",
                    "How fast they burn: 1 spends the budget in exactly 30 days. Pages come at 14.4.",
                    ("{{service}}: {{slo}}", "slo:budget_burn:rate5m"),
                    bound=14.4,
                    links=[
                        to_logs("Errors", '{job="sagashop", role="${__field.labels.service}", level=~"(?i)warn|error"}')
                    ],
                ),
            ],
        ),
        (
            "Logs and traces",
            [
                bars(
                    "Lines logged",
                    "In the shown time, by level.",
                    ("{{level}}", increase("log_lines_total", "level")),
                    width=6,
                ),
                log_graph(
                    "Warnings and errors",
                    "Lines a second.",
                    "{{role}} {{level}}",
                    f"sum by (role, level) (rate({FAILED}[$__interval]))",
                    width=18,
                ),
                logs("Latest warnings and errors", "The trace of a line opens from its details.", FAILED),
                traces("Latest orders", "Each is the trace of one order, through all services.", PLACED),
            ],
        ),
    ],
)
