"""From the event table to the consumers and the read models."""

from panels import bars, dashboard, graph, logs, stat, to_logs, to_traces, variable
from queries import increase, latest, mean, quantile, rate

OF = 'service=~"$service"'
LINKS = [
    to_logs("Logs of ${__field.labels.service}", '{job="sagashop", role="${__field.labels.service}"}'),
    to_traces("Traces of ${__field.labels.service}", {"service": "sagashop-${__field.labels.service}"}),
]

BOARD = dashboard(
    "pipeline",
    "Event pipeline",
    "Events are appended, relayed to topics, handled by consumers, and folded into read models. "
    "What waits is told in seconds: it means the same at any load.",
    [
        (
            "What has waited longest",
            [
                stat(
                    "For its publication",
                    "The oldest event that is not on its topic.",
                    "max(relay_oldest_unpublished_seconds)",
                    "s",
                    bad=30,
                    width=5,
                ),
                stat(
                    "For a consumer",
                    "The oldest record that is not handled.",
                    "max(consumer_lag_seconds)",
                    "s",
                    bad=30,
                    width=5,
                ),
                stat(
                    "For a read model",
                    "The oldest event that a projection has not seen.",
                    "max(projection_lag_seconds)",
                    "s",
                    bad=30,
                    width=5,
                ),
                stat(
                    "Open transaction",
                    "It hides all later events.",
                    "max(postgres_oldest_transaction_seconds)",
                    "s",
                    bad=30,
                    width=5,
                ),
                stat(
                    "Dead letters",
                    "Lying now, without those parked behind them.",
                    'sum(max by (service, consumer) (consumer_dead_letters{kind="dead"}))',
                    bad=1,
                ),
            ],
        ),
        (
            "Event store",
            [
                graph(
                    "Events appended",
                    "A second.",
                    ("{{service}} {{path}}", rate("event_store_appended_events_total", "service, path", OF)),
                    unit="cps",
                    stacked=True,
                    links=LINKS,
                ),
                graph(
                    "Appends by result",
                    "A second.",
                    ("{{service}} {{result}}", rate("event_store_appends_total", "service, result", OF)),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Conflicts",
                    "Appends whose stream had moved on; the decision is taken again.",
                    ("{{service}}", rate("event_store_appends_total", "service", f'{OF}, result="conflict"')),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Commit",
                    "99 of 100 take no longer, the flush included.",
                    ("{{service}} {{path}}", quantile(0.99, "event_store_commit_seconds", "service, path", OF)),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Events a commit",
                    "On average.",
                    ("{{service}} {{path}}", mean("event_store_batch_events", "service, path", OF)),
                    links=LINKS,
                ),
                graph(
                    "Oldest open transaction",
                    "On the server of each service.",
                    ("{{service}}", latest("postgres_oldest_transaction_seconds", "service", OF)),
                    unit="s",
                    bound=30,
                    links=LINKS,
                ),
            ],
        ),
        (
            "Relay",
            [
                graph(
                    "Oldest unpublished event",
                    "Its age.",
                    ("{{service}}", latest("relay_oldest_unpublished_seconds", "service", OF)),
                    unit="s",
                    bound=30,
                    links=LINKS,
                ),
                graph(
                    "Events to publish",
                    "Behind the relay's checkpoint; counted up to 10,000.",
                    ("{{service}}", latest("relay_pending_events", "service", OF)),
                    links=LINKS,
                ),
                graph(
                    "Published by topic",
                    "Messages a second.",
                    ("{{topic}}", rate("relay_messages_published_total", "topic", OF)),
                    unit="cps",
                    stacked=True,
                ),
                graph(
                    "Publishing",
                    "99 of 100 take no longer, until the broker's acks.",
                    ("{{service}}", quantile(0.99, "relay_publish_seconds", "service", OF)),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Messages a publish",
                    "On average.",
                    ("{{service}}", mean("relay_batch_messages", "service", OF)),
                    links=LINKS,
                ),
                graph(
                    "Failures",
                    "A second; they are tried again.",
                    ("{{service}}", rate("relay_failures_total", "service", OF)),
                    unit="reqps",
                    links=LINKS,
                ),
            ],
        ),
        (
            "Consumers",
            [
                graph(
                    "Lag in time",
                    "Age of the oldest record that is not handled.",
                    ("{{consumer}} on {{topic}}", latest("consumer_lag_seconds", "service, consumer, topic", OF)),
                    unit="s",
                    bound=30,
                    links=LINKS,
                ),
                graph(
                    "Lag in records",
                    "Not handled, over all partitions.",
                    (
                        "{{consumer}} on {{topic}}",
                        "sum by (service, consumer, topic) "
                        f"({latest('consumer_lag_records', 'service, consumer, topic, partition', OF)})",
                    ),
                    links=LINKS,
                ),
                graph(
                    "Handled",
                    "Records a second.",
                    ("{{consumer}} on {{topic}}", rate("consumer_records_total", "service, consumer, topic", OF)),
                    unit="cps",
                    stacked=True,
                    links=LINKS,
                ),
                graph(
                    "Units of work",
                    "99 of 100 take no longer, retries included.",
                    ("{{consumer}}", quantile(0.99, "consumer_batch_seconds", "service, consumer", OF)),
                    unit="s",
                    links=LINKS,
                ),
                graph(
                    "Records a unit",
                    "On average.",
                    ("{{consumer}}", mean("consumer_batch_records", "service, consumer", OF)),
                    links=LINKS,
                ),
                graph(
                    "Begun again",
                    "Batches a second, by reason; and fetches that failed.",
                    ("{{consumer}} {{reason}}", rate("consumer_retries_total", "service, consumer, reason", OF)),
                    (
                        "{{consumer}} fetch: {{reason}}",
                        rate("consumer_fetch_failures_total", "service, consumer, reason", OF),
                    ),
                    unit="reqps",
                    links=LINKS,
                ),
                graph(
                    "Dead letters",
                    "Lying now; those parked wait behind a dead one of their key.",
                    ("{{consumer}} {{kind}}", latest("consumer_dead_letters", "service, consumer, kind", OF)),
                    bound=1,
                    links=LINKS,
                ),
                graph(
                    "Put aside",
                    "Records in five minutes.",
                    (
                        "{{consumer}} {{kind}}",
                        increase("consumer_dead_letters_total", "service, consumer, kind", OF, "5m"),
                    ),
                    links=LINKS,
                ),
                bars(
                    "Partitions by owner",
                    "How many each instance holds.",
                    (
                        "{{consumer}} at {{instance}}",
                        f"sum by (service, consumer, instance) (consumer_lease_held{{{OF}}})",
                    ),
                    links=LINKS,
                ),
                graph(
                    "Changes of owner",
                    "Epochs begun in five minutes, over all partitions.",
                    ("{{consumer}}", f"sum by (service, consumer) (delta(consumer_lease_epoch{{{OF}}}[5m]))"),
                    width=12,
                    links=LINKS,
                ),
                graph(
                    "Nobody's partitions",
                    "Without an owner now.",
                    (
                        "{{consumer}}",
                        "count by (service, consumer) "
                        f"(sum by (service, consumer, topic, partition) (consumer_lease_held{{{OF}}}) == 0) "
                        f"or 0 * count by (service, consumer) (consumer_lease_held{{{OF}}})",
                    ),
                    width=12,
                    bound=1,
                    links=LINKS,
                ),
            ],
        ),
        (
            "Read models",
            [
                graph(
                    "Lag in time",
                    "Age of the oldest event that is not seen.",
                    ("{{service}} {{projection}}", latest("projection_lag_seconds", "service, projection", OF)),
                    unit="s",
                    bound=30,
                    links=LINKS,
                ),
                graph(
                    "Lag in events",
                    "Counted up to 10,000.",
                    ("{{service}} {{projection}}", latest("projection_lag_events", "service, projection", OF)),
                    links=LINKS,
                ),
                graph(
                    "Events seen",
                    "A second.",
                    ("{{service}} {{projection}}", rate("projection_events_total", "service, projection", OF)),
                    unit="cps",
                    stacked=True,
                    links=LINKS,
                ),
                graph(
                    "Page",
                    "99 of 100 transactions take no longer.",
                    (
                        "{{service}} {{projection}}",
                        quantile(0.99, "projection_commit_seconds", "service, projection", OF),
                    ),
                    unit="s",
                    width=12,
                    links=LINKS,
                ),
                graph(
                    "Failures",
                    "Pages a second that are tried again.",
                    ("{{service}} {{projection}}", rate("projection_failures_total", "service, projection", OF)),
                    unit="reqps",
                    width=12,
                    links=LINKS,
                ),
            ],
        ),
        (
            "Logs",
            [
                logs(
                    "Of relays, consumers and projections",
                    "Warnings and errors.",
                    '{job="sagashop", role=~"$service", level=~"(?i)warn|error"} '
                    '| json | target=~"(runtime|broker|event_store).*"',
                )
            ],
        ),
    ],
    [variable("service", "Service", "label_values(event_store_appended_events_total, service)")],
)
