//! How events travel, on a real PostgreSQL and on each broker: in commit order, with effects that
//! happen once whoever is killed, paused or fed with poison.
//!
//! Kafka is the one in `KAFKA_BROKER`; without it its tests are skipped, and said to be.

mod commit_order;
mod fixture;
mod forms;
mod gate;
mod leases;
mod poison;
mod rebuild;
mod relay;
mod retry;
mod states;
mod tally;
mod timers;
mod versions;

use fixture::{Kind, Topic};

/// One module for each broker, in it each test.
macro_rules! on_each_broker {
    ($($module:ident: $($test:ident)*;)*) => {
        on_each_broker!(@broker memory Memory [$($($module $test)*)*]);
        on_each_broker!(@broker postgres Postgres [$($($module $test)*)*]);
        on_each_broker!(@broker kafka Kafka [$($($module $test)*)*]);
    };
    (@broker $broker:ident $kind:ident [$($module:ident $test:ident)*]) => {
        mod $broker {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(topic) = super::Topic::on(super::Kind::$kind).await {
                        super::$module::$test(topic).await;
                    }
                }
            )*
        }
    };
}

on_each_broker! {
    commit_order:
        nothing_is_skipped_or_reversed;
    relay:
        a_relay_killed_before_its_checkpoint_repeats_and_effects_happen_once
        of_two_relays_one_works_and_the_other_takes_over
        a_crowd_of_requests_goes_before_the_relay_and_the_rest_after_it
        a_crowd_that_stays_holds_the_relay_up_for_so_long_and_no_longer;
    leases:
        a_consumer_paused_beyond_its_lease_writes_nothing
        two_instances_share_and_one_takes_over;
    poison:
        poison_is_put_aside_with_its_keys_later_records
        what_comes_later_is_parked_by_whoever_holds_the_partition
        a_redelivery_takes_no_effect;
    retry:
        a_corrected_letter_and_its_followers_are_handled_in_order
        a_retry_in_vain_leaves_the_order_as_it_was
        a_second_poison_stops_the_release_where_it_stands
        a_key_with_more_letters_than_a_batch_is_released_whole
        an_act_and_its_record_are_one_and_the_relay_passes_it_by;
    versions:
        earlier_forms_are_read_as_what_they_mean_today
        what_a_newer_program_wrote_stops_whoever_meets_it
        a_message_of_a_newer_form_stops_the_consumer_before_it
        a_replayed_record_is_acted_on_within_its_own_replay_alone;
}
