"""The sagas: where they are, how long their steps take, and what goes wrong."""

from panels import bars, dashboard, graph, logs, stat, to_logs, to_traces, traces

ERRORS = {"service": "orchestrator", "tags": "error=true"}
LINKS = [
    to_traces("Traces with errors", ERRORS),
    to_logs("Logs of the orchestrator", '{job="sagashop", role="orchestrator"}'),
]
STEP = (
    "histogram_quantile({}, sum by (le, step, direction) "
    "(rate(saga_step_duration_seconds_bucket{{direction=\"{}\"}}[$__rate_interval])))"
)
STARTED = "sum(increase(saga_started_total[$__range]))"

BOARD = dashboard(
    "sagas",
    "Sagas",
    "Each order is driven by a saga: reserve, charge (the pivot), sell and confirm; or undo in reverse.",
    [
        (
            "Now",
            [
                stat("Started", "In the shown time.", STARTED, decimals=0),
                stat(
                    "Compensated",
                    "Sagas that turned back, of those started in the shown time.",
                    f"sum(increase(saga_compensations_total[$__range])) / {STARTED}",
                    "percentunit",
                ),
                stat("Under way", "Sagas that have not ended.", "sum(max by (saga, state) (saga_in_flight))"),
                stat("Stuck", "Sagas that wait for an operator.", 'sum(max by (saga) (saga_in_flight{state="stuck"}))', bad=1),
                stat(
                    "Longest wait",
                    "Since the last event of the saga that has had none for longest; stuck ones left out.",
                    'max(saga_longest_wait_seconds{state!="stuck"})',
                    "s",
                    bad=300,
                ),
                stat("Timers", "Set and not fired.", "sum(max by (service, aggregate) (timers_pending))"),
            ],
        ),
        (
            "Course",
            [
                graph(
                    "By state",
                    "Sagas that are in it.",
                    ("{{state}}", "max by (saga, state) (saga_in_flight)"),
                    stacked=True,
                    links=LINKS,
                ),
                graph(
                    "Longest wait by state",
                    "Seconds since the last event of the one that waits longest.",
                    ("{{state}}", "max by (saga, state) (saga_longest_wait_seconds)"),
                    unit="s",
                    bound=300,
                    links=LINKS,
                ),
                graph(
                    "Started and ended",
                    "A second.",
                    ("started", "sum by (saga) (rate(saga_started_total[$__rate_interval]))"),
                    ("{{outcome}}", "sum by (saga, outcome) (rate(saga_finished_total[$__rate_interval]))"),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Duration",
                    "From the first event to the end; 95 of 100.",
                    (
                        "{{outcome}}",
                        "histogram_quantile(0.95, sum by (le, outcome) (rate(saga_duration_seconds_bucket[$__rate_interval])))",
                    ),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Turned back",
                    "A second, by cause.",
                    ("{{cause}}", "sum by (saga, cause) (rate(saga_compensations_total[$__rate_interval]))"),
                    unit="reqps",
                    stacked=True,
                    links=LINKS,
                ),
                bars(
                    "Operators' acts",
                    "In the shown time.",
                    ("{{act}}", "sum by (act) (increase(saga_operator_acts_total[$__range]))"),
                ),
            ],
        ),
        (
            "Steps",
            [
                graph(
                    "Steps forward",
                    "From the command to the answer; 95 of 100.",
                    ("{{step}}", STEP.format(0.95, "forward")),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Steps undone",
                    "From the command to the answer; 95 of 100.",
                    ("{{step}}", STEP.format(0.95, "undo")),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Steps by outcome",
                    "A second.",
                    (
                        "{{direction}} {{step}} {{outcome}}",
                        "sum by (step, direction, outcome) (rate(saga_step_duration_seconds_count[$__rate_interval]))",
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Commands asked again",
                    "A second: a step was not answered in time.",
                    (
                        "{{direction}} {{step}}",
                        'sum by (step, direction) (rate(saga_commands_total{attempt="again"}[$__rate_interval]))',
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Timeouts",
                    "Steps a second that were not answered in time.",
                    ("{{direction}} {{step}}", "sum by (step, direction) (rate(saga_timeouts_total[$__rate_interval]))"),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Undoing fails",
                    "Attempts in five minutes; after eight the saga is stuck.",
                    ("{{step}}", "sum by (step) (increase(saga_compensation_failures_total[5m]))"),
                    ("{{step}} stuck", "sum by (step) (increase(saga_stuck_total[5m]))"),
                    links=LINKS,
                ),
                graph(
                    "Timers",
                    "Fired, a second.",
                    ("{{aggregate}}", "sum by (aggregate) (rate(timers_fired_total[$__rate_interval]))"),
                    unit="reqps",
                    width=12,
                ),
                graph(
                    "Timers' delay",
                    "From due to fired; 95 of 100.",
                    (
                        "{{aggregate}}",
                        "histogram_quantile(0.95, sum by (le, aggregate) (rate(timer_delay_seconds_bucket[$__rate_interval])))",
                    ),
                    unit="s",
                    width=12,
                ),
            ],
        ),
        (
            "Logs and traces",
            [
                logs("Of the orchestrator", "Warnings and errors.", '{job="sagashop", role="orchestrator", level=~"(?i)warn|error"}'),
                traces("Latest that failed", "Traces with an error in the orchestrator: refused, timed out, turned back.", ERRORS),
            ],
        ),
    ],
)
