//! What every broker promises, asked of each of them.
//!
//! Kafka is the one in `KAFKA_BROKER`; without it its tests are skipped, and said to be.

mod properties;
mod servers;

use servers::{Kafka, Memory, Postgres, PostgresShared, Server};

/// One module for each server, one test in it for each property.
macro_rules! conformance {
    ($($property:ident),* $(,)?) => {
        conformance!(@server memory Memory [$($property),*]);
        conformance!(@server postgres Postgres [$($property),*]);
        conformance!(@server postgres_shared PostgresShared [$($property),*]);
        conformance!(@server kafka Kafka [$($property),*]);
    };
    (@server $module:ident $server:ident [$($property:ident),*]) => {
        mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $property() {
                    if let Some(server) = $server::start().await {
                        properties::$property(&server).await;
                    }
                }
            )*
        }
    };
}

conformance![
    offsets_are_contiguous_and_in_order,
    a_page_keeps_its_limits,
    a_page_that_was_cut_goes_on_where_it_ended,
    records_come_back_as_they_were,
    a_fetch_is_woken_by_a_publish,
    a_fetch_is_woken_by_another_client,
    a_fetch_that_waits_in_vain_is_empty,
    the_end_is_not_out_of_range_but_beyond_it_is,
    what_does_not_exist_is_said_so,
    a_batch_reaches_all_its_partitions,
    concurrent_publishers_leave_no_gap,
    readers_see_the_same,
    topics_are_made_once,
    too_large_is_refused_and_nothing_written,
];
