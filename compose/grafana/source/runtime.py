"""The processes: processor, memory, tokio, pools."""

from panels import dashboard, graph, logs, stat, to_logs, variable
from queries import increase, quantile, rate

OF = 'job="sagashop", role=~"$role"'
LINKS = [to_logs("Logs of ${__field.labels.role}", '{job="sagashop", role="${__field.labels.role}"}')]
WHO = "{{role}} {{instance}}"

BOARD = dashboard(
    "runtime",
    "Runtime",
    "What each process uses, and what it waits for.",
    [
        (
            "Now",
            [
                stat("Processes", "That answer.", f"sum(up{{{OF}}})", good=1),
                stat(
                    "Processor",
                    "Cores in use.",
                    rate("process_cpu_seconds_total", "", OF),
                    decimals=2,
                ),
                stat("Memory", "Resident.", f"sum(process_resident_memory_bytes{{{OF}}})", "bytes"),
                stat(
                    "Youngest",
                    "How long ago the process that was started last was started.",
                    f"time() - max(process_start_time_seconds{{{OF}}})",
                    "s",
                ),
                stat(
                    "Versions",
                    "More than one: a roll-out is under way.",
                    f"count(count by (version) (sagashop_build_info{{{OF}}}))",
                ),
                stat(
                    "Errors logged",
                    "Lines in the shown time.",
                    increase("log_lines_total", of=f'{OF}, level="error"'),
                    bad=1,
                    decimals=0,
                ),
            ],
        ),
        (
            "Process",
            [
                graph(
                    "Processor",
                    "Cores in use.",
                    (WHO, f"rate(process_cpu_seconds_total{{{OF}}}[$__rate_interval])"),
                    links=LINKS,
                ),
                graph(
                    "Memory", "Resident.", (WHO, f"process_resident_memory_bytes{{{OF}}}"), unit="bytes", links=LINKS
                ),
                graph(
                    "Open files",
                    "Share of what is allowed.",
                    (WHO, f"process_open_fds{{{OF}}} / process_max_fds{{{OF}}}"),
                    unit="percentunit",
                    bound=0.8,
                    links=LINKS,
                ),
                graph("Threads", "Of the operating system.", (WHO, f"process_threads{{{OF}}}"), links=LINKS),
                graph(
                    "Log lines",
                    "A second.",
                    ("{{role}} {{level}}", rate("log_lines_total", "role, level", OF)),
                    links=LINKS,
                ),
                graph(
                    "Spans",
                    "A second: taken by the collector, or dropped because it is away or too slow.",
                    (
                        "{{role}} taken",
                        rate("sagashop_telemetry_spans_exported_total", "role", OF),
                    ),
                    (
                        "{{role}} dropped",
                        rate("sagashop_telemetry_spans_dropped_total", "role", OF),
                    ),
                    unit="cps",
                    links=LINKS,
                ),
            ],
        ),
        (
            "Tokio",
            [
                graph(
                    "Workers busy",
                    "Share of their time.",
                    (WHO, f"rate(tokio_workers_busy_seconds_total{{{OF}}}[$__rate_interval]) / tokio_workers{{{OF}}}"),
                    unit="percentunit",
                    bound=0.9,
                    links=LINKS,
                ),
                graph("Tasks", "Alive.", (WHO, f"tokio_alive_tasks{{{OF}}}"), links=LINKS),
                graph(
                    "Queue",
                    "Tasks that are ready and wait for a worker.",
                    (WHO, f"tokio_global_queue_depth{{{OF}}}"),
                    links=LINKS,
                ),
            ],
        ),
        (
            "Pools",
            [
                graph(
                    "Databases",
                    "1: the service reaches its database.",
                    ("{{service}}", f"min by (service) (database_up{{{OF}}})"),
                    links=LINKS,
                ),
                graph(
                    "Database connections in use",
                    "Share of what is allowed.",
                    (
                        "{{service}} {{instance}}",
                        f'db_pool_connections{{{OF}, state="used"}} / ignoring (state) db_pool_connections_max{{{OF}}}',
                    ),
                    unit="percentunit",
                    bound=1,
                    links=LINKS,
                ),
                graph(
                    "Database connections",
                    "Idle and in use.",
                    ("{{service}} {{state}}", f"sum by (service, state) (db_pool_connections{{{OF}}})"),
                    stacked=True,
                    links=LINKS,
                ),
                graph(
                    "Redis connections",
                    "Idle, in use, and calls that wait for one.",
                    ("{{service}} {{state}}", f"sum by (service, state) (redis_pool_connections{{{OF}}})"),
                    ("{{service}} waiting", f"sum by (service) (redis_pool_waiting{{{OF}}})"),
                    links=LINKS,
                ),
                graph(
                    "Password hashes",
                    "At work, and waiting for a place.",
                    ("at work", "sum(password_hashes_running)"),
                    ("waiting", "sum(password_hashes_waiting)"),
                ),
                graph(
                    "Password hashing",
                    "95 of 100 take no longer; the wait included in none.",
                    (
                        "{{operation}}",
                        quantile(0.95, "password_hash_seconds", "operation"),
                    ),
                    (
                        "waiting",
                        quantile(0.95, "password_hash_wait_seconds"),
                    ),
                    unit="s",
                ),
                graph(
                    "Logins turned away",
                    "A second: too many waited.",
                    ("turned away", rate("password_hashes_shed_total")),
                    unit="reqps",
                ),
            ],
        ),
        (
            "Logs",
            [
                logs(
                    "Warnings and errors",
                    "Of the chosen roles.",
                    '{job="sagashop", role=~"$role", level=~"(?i)warn|error"}',
                )
            ],
        ),
    ],
    [variable("role", "Role", 'label_values(up{job="sagashop"}, role)')],
)
