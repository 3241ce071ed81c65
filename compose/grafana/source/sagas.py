"""The sagas: where they are, how long their steps take, and what goes wrong."""

from panels import bars, dashboard, graph, logs, stat, to_logs, to_traces, traces
from queries import increase, latest, quantile, rate

UNDONE = {"service": "sagashop-orchestrator", "tags": "saga.direction=undo"}
LINKS = [
    to_traces("Traces of what turned back", UNDONE),
    to_logs("Logs of the orchestrator", '{job="sagashop", role="orchestrator"}'),
]
STARTED = increase("saga_started_total")

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
                    f"{increase('saga_compensations_total')} / {STARTED}",
                    "percentunit",
                ),
                stat("Under way", "Sagas that have not ended.", "sum(max by (saga, state) (saga_in_flight))"),
                stat(
                    "Stuck",
                    "Sagas that wait for an operator.",
                    'sum(max by (saga) (saga_in_flight{state="stuck"}))',
                    bad=1,
                ),
                stat(
                    "Longest wait",
                    "Since the last event of the saga that has had none for longest; stuck ones left out.",
                    'max(saga_longest_wait_seconds{state!~"stuck|paused"})',
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
                    ("{{state}}", latest("saga_in_flight", "saga, state")),
                    stacked=True,
                    links=LINKS,
                ),
                graph(
                    "Longest wait by state",
                    "Seconds since the last event of the one that waits longest.",
                    ("{{state}}", latest("saga_longest_wait_seconds", "saga, state")),
                    unit="s",
                    bound=300,
                    links=LINKS,
                ),
                graph(
                    "Started and ended",
                    "A second.",
                    ("started", rate("saga_started_total", "saga")),
                    ("{{outcome}}", rate("saga_finished_total", "saga, outcome")),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Duration",
                    "From the first event to the end; 95 of 100.",
                    (
                        "{{outcome}}",
                        quantile(0.95, "saga_duration_seconds", "outcome"),
                    ),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Turned back",
                    "A second, by cause.",
                    ("{{cause}}", rate("saga_compensations_total", "saga, cause")),
                    unit="reqps",
                    stacked=True,
                    links=LINKS,
                ),
                bars(
                    "Operators' acts",
                    "In the shown time.",
                    ("{{act}}", increase("saga_operator_acts_total", "act")),
                ),
            ],
        ),
        (
            "Steps",
            [
                graph(
                    "Steps forward",
                    "From the command to the answer; 95 of 100.",
                    ("{{step}}", quantile(0.95, "saga_step_duration_seconds", "step", 'direction="forward"')),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Steps undone",
                    "From the command to the answer; 95 of 100.",
                    ("{{step}}", quantile(0.95, "saga_step_duration_seconds", "step", 'direction="undo"')),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Steps by outcome",
                    "A second.",
                    (
                        "{{direction}} {{step}} {{outcome}}",
                        rate("saga_step_duration_seconds_count", "step, direction, outcome"),
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Commands asked again",
                    "A second: a step was not answered in time.",
                    (
                        "{{direction}} {{step}}",
                        rate("saga_commands_total", "step, direction", 'attempt="again"'),
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Timeouts",
                    "Steps a second that were not answered in time.",
                    (
                        "{{direction}} {{step}}",
                        rate("saga_timeouts_total", "step, direction"),
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Undoing fails",
                    "Attempts in five minutes; after eight the saga is stuck.",
                    ("{{step}}", increase("saga_compensation_failures_total", "step", over="5m")),
                    ("{{step}} stuck", increase("saga_stuck_total", "step", over="5m")),
                    links=LINKS,
                ),
                graph(
                    "Timers",
                    "Fired, a second.",
                    ("{{aggregate}}", rate("timers_fired_total", "aggregate")),
                    unit="reqps",
                    width=12,
                ),
                graph(
                    "Timers' delay",
                    "From due to fired; 95 of 100.",
                    (
                        "{{aggregate}}",
                        quantile(0.95, "timer_delay_seconds", "aggregate"),
                    ),
                    unit="s",
                    width=12,
                ),
            ],
        ),
        (
            "Audit, where AUDIT_EVERY is set",
            [
                stat(
                    "Violations",
                    "What violates a promise, by the last audit.",
                    "sum(max by (check) (audit_violations))",
                    bad=1,
                ),
                stat(
                    "Not checked",
                    "Promises that the last audit could not check in full.",
                    "sum(max by (check) (audit_unchecked))",
                    bad=1,
                ),
                stat("Last audit", "How long ago it ended.", "time() - max(audit_last_run_timestamp_seconds)", "s"),
                stat("Duration", "How long it took.", "max(audit_duration_seconds)", "s"),
                graph(
                    "Violations by promise",
                    "By the last audit.",
                    ("{{check}}", "max by (check) (audit_violations)"),
                    width=24,
                ),
            ],
        ),
        (
            "Logs and traces",
            [
                logs(
                    "Of the orchestrator",
                    "Warnings and errors.",
                    '{job="sagashop", role="orchestrator", level=~"(?i)warn|error"}',
                ),
                traces(
                    "Latest that turned back",
                    "Each is the trace of one order that was refused, timed out or was cancelled.",
                    UNDONE,
                ),
            ],
        ),
    ],
)
