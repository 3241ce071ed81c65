"""From the event table to the consumers and the read models."""

from panels import bars, dashboard, graph, logs, stat, to_logs, to_traces, variable


def quantile(metric, by, share=0.99):
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{{OF}}}[$__rate_interval])))"


def rate(metric, by, more=""):
    return f"sum by ({by}) (rate({metric}{{{OF}{more}}}[$__rate_interval]))"


def mean(metric, by):
    return f"{rate(metric + '_sum', by)} / {rate(metric + '_count', by)}"


OF = 'service=~"$service"'
LINKS = [
    to_logs("Logs of ${__field.labels.service}", '{job="sagashop", role="${__field.labels.service}"}'),
    to_traces("Traces of ${__field.labels.service}", {"service": "${__field.labels.service}"}),
]

BOARD = dashboard(
    "pipeline",
    "Event pipeline",
    "Events are appended, relayed to topics, handled by consumers, and folded into read models. What waits is told in seconds: it means the same at any load.",
    [
        (
            "What has waited longest",
            [
                stat("For its publication", "The oldest event that is not on its topic.", "max(relay_oldest_unpublished_seconds)", "s", bad=30, width=5),
                stat("For a consumer", "The oldest record that is not handled.", "max(consumer_lag_seconds)", "s", bad=30, width=5),
                stat("For a read model", "The oldest event that a projection has not seen.", "max(projection_lag_seconds)", "s", bad=30, width=5),
                stat("Open transaction", "It hides all later events.", "max(postgres_oldest_transaction_seconds)", "s", bad=30, width=5),
                stat("Dead letters", "Lying now, without those parked behind them.", 'sum(max by (service, consumer) (consumer_dead_letters{kind="dead"}))', bad=1),
            ],
        ),
        (
            "Event store",
            [
                graph("Events appended", "A second.", ("{{service}} {{path}}", rate("event_store_appended_events_total", "service, path")), unit="cps", stacked=True, links=LINKS),
                graph("Appends by result", "A second.", ("{{service}} {{result}}", rate("event_store_appends_total", "service, result")), unit="reqps", links=LINKS),
                graph("Conflicts", "Appends whose stream had moved on; the decision is taken again.", ("{{service}}", rate("event_store_appends_total", "service", ', result="conflict"')), unit="reqps", links=LINKS),
                graph("Commit", "99 of 100 take no longer, the flush included.", ("{{service}} {{path}}", quantile("event_store_commit_seconds", "service, path")), unit="s", links=LINKS),
                graph("Events a commit", "On average.", ("{{service}} {{path}}", mean("event_store_batch_events", "service, path")), links=LINKS),
                graph("Oldest open transaction", "On the server of each service.", ("{{service}}", f"max by (service) (postgres_oldest_transaction_seconds{{{OF}}})"), unit="s", bound=30, links=LINKS),
            ],
        ),
        (
            "Relay",
            [
                graph("Oldest unpublished event", "Its age.", ("{{service}}", f"max by (service) (relay_oldest_unpublished_seconds{{{OF}}})"), unit="s", bound=30, links=LINKS),
                graph("Events to publish", "Behind the relay's checkpoint; counted up to 10,000.", ("{{service}}", f"max by (service) (relay_pending_events{{{OF}}})"), links=LINKS),
                graph("Published by topic", "Messages a second.", ("{{topic}}", rate("relay_messages_published_total", "topic")), unit="cps", stacked=True),
                graph("Publishing", "99 of 100 take no longer, until the broker's acks.", ("{{service}}", quantile("relay_publish_seconds", "service")), unit="s", links=LINKS),
                graph("Messages a publish", "On average.", ("{{service}}", mean("relay_batch_messages", "service")), links=LINKS),
                graph("Failures", "A second; they are tried again.", ("{{service}}", rate("relay_failures_total", "service")), unit="reqps", links=LINKS),
            ],
        ),
        (
            "Consumers",
            [
                graph("Lag in time", "Age of the oldest record that is not handled.", ("{{consumer}} on {{topic}}", f"max by (service, consumer, topic) (consumer_lag_seconds{{{OF}}})"), unit="s", bound=30, links=LINKS),
                graph("Lag in records", "Not handled, over all partitions.", ("{{consumer}} on {{topic}}", f"sum by (service, consumer, topic) (max by (service, consumer, topic, partition) (consumer_lag_records{{{OF}}}))"), links=LINKS),
                graph("Handled", "Records a second.", ("{{consumer}} on {{topic}}", rate("consumer_records_total", "service, consumer, topic")), unit="cps", stacked=True, links=LINKS),
                graph("Units of work", "99 of 100 take no longer, retries included.", ("{{consumer}}", quantile("consumer_batch_seconds", "service, consumer")), unit="s", links=LINKS),
                graph("Records a unit", "On average.", ("{{consumer}}", mean("consumer_batch_records", "service, consumer")), links=LINKS),
                graph("Begun again", "Batches a second, by reason; and fetches that failed.", ("{{consumer}} {{reason}}", rate("consumer_retries_total", "service, consumer, reason")), ("{{consumer}} fetch: {{reason}}", rate("consumer_fetch_failures_total", "service, consumer, reason")), unit="reqps", links=LINKS),
                graph("Dead letters", "Lying now; those parked wait behind a dead one of their key.", ("{{consumer}} {{kind}}", f"max by (service, consumer, kind) (consumer_dead_letters{{{OF}}})"), bound=1, links=LINKS),
                graph("Put aside", "Records in five minutes.", ("{{consumer}} {{kind}}", f"sum by (service, consumer, kind) (increase(consumer_dead_letters_total{{{OF}}}[5m]))"), links=LINKS),
                bars("Partitions by owner", "How many each instance holds.", ("{{consumer}} at {{instance}}", f"sum by (service, consumer, instance) (consumer_lease_held{{{OF}}})"), links=LINKS),
                graph("Changes of owner", "Epochs begun in five minutes, over all partitions.", ("{{consumer}}", f"sum by (service, consumer) (delta(consumer_lease_epoch{{{OF}}}[5m]))"), width=12, links=LINKS),
                graph("Nobody's partitions", "Without an owner now.", ("{{consumer}}", f"count by (service, consumer) (sum by (service, consumer, topic, partition) (consumer_lease_held{{{OF}}}) == 0) or 0 * count by (service, consumer) (consumer_lease_held{{{OF}}})"), width=12, bound=1, links=LINKS),
            ],
        ),
        (
            "Read models",
            [
                graph("Lag in time", "Age of the oldest event that is not seen.", ("{{service}} {{projection}}", f"max by (service, projection) (projection_lag_seconds{{{OF}}})"), unit="s", bound=30, links=LINKS),
                graph("Lag in events", "Counted up to 10,000.", ("{{service}} {{projection}}", f"max by (service, projection) (projection_lag_events{{{OF}}})"), links=LINKS),
                graph("Events seen", "A second.", ("{{service}} {{projection}}", rate("projection_events_total", "service, projection")), unit="cps", stacked=True, links=LINKS),
                graph("Page", "99 of 100 transactions take no longer.", ("{{service}} {{projection}}", quantile("projection_commit_seconds", "service, projection")), unit="s", width=12, links=LINKS),
                graph("Failures", "Pages a second that are tried again.", ("{{service}} {{projection}}", rate("projection_failures_total", "service, projection")), unit="reqps", width=12, links=LINKS),
            ],
        ),
        ("Logs", [logs("Of relays, consumers and projections", "Warnings and errors.", '{job="sagashop", role=~"$service", level=~"(?i)warn|error"} | json | target=~"(runtime|broker|event_store).*"')]),
    ],
    [variable("service", "Service", "label_values(event_store_appended_events_total, service)")],
)  # fmt: skip
