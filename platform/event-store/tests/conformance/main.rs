//! One suite for every event store: what the runtime relies on holds for each of them.

mod answers;
mod chain;
mod fixture;
mod leases;
mod mending;
mod side_tables;
mod streams;
mod visible_order;
mod work;

/// Runs each test on each store.
macro_rules! conformance {
    ($memory:ident $postgres:ident: $($module:ident: $($test:ident)*;)*) => {
        mod $memory {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$module::$test(super::fixture::$memory()).await;
            })*)*
        }

        mod $postgres {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$module::$test(super::fixture::$postgres().await).await;
            })*)*
        }
    };
}

conformance! {
    memory postgres:
    streams:
        appended_events_load_as_written
        loads_answer_in_the_order_asked
        histories_asked_for_at_once_are_each_their_own
        a_history_sees_what_was_committed_before
        a_stale_append_conflicts
        a_conflict_fails_only_its_own_append
        writers_that_try_again_leave_no_gap
        payloads_come_back_as_they_were
        commits_wake_followers;
    work:
        a_unit_of_work_writes_all_its_parts
        a_lost_lease_rolls_everything_back
        a_conflict_rolls_everything_back
        empty_work_is_no_error
        one_of_two_units_for_the_same_offset_wins
        the_last_change_of_a_timer_stands;
    answers:
        an_answer_is_written_with_its_append
        a_repeated_key_fails_only_its_own_append
        a_conflict_leaves_no_answer
        of_many_appends_under_one_key_one_is_written
        a_unit_of_work_with_a_repeated_key_writes_nothing
        old_answers_are_forgotten;
    leases:
        partitions_are_shared_fairly
        what_cannot_be_divided_evenly_leaves_nobody_out
        more_owners_than_shares_leave_somebody_waiting
        an_expired_lease_is_taken_over_and_its_holder_writes_nothing
        a_renewed_lease_keeps_epoch_and_offset
        a_released_lease_is_free_at_once
        offsets_never_fall
        consumers_do_not_share_leases
        claims_at_once_never_overlap;
    mending:
        letters_of_a_key_come_in_order
        a_retry_is_wanted_until_it_is_done
        a_letter_that_was_edited_is_another_one
        a_letter_that_is_kept_tells_why
        what_does_not_fit_rolls_the_record_back
        whoever_lost_its_lease_mends_nothing
        an_offset_moves_only_where_nobody_holds_it
        a_checkpoint_goes_back_only_where_nobody_holds_its_place;
    visible_order:
        pages_skip_nothing
        pages_keep_order_under_concurrent_writers
        an_append_stands_behind_what_was_committed_before;
    side_tables:
        checkpoints_move_forward
        timers_are_due_in_order
        timers_move_and_clear
        an_expiry_spares_a_timer_that_was_moved
        dead_letters_block_their_keys
        handled_commands_are_remembered_per_consumer
        the_later_snapshot_stays;
}

conformance! {
    chained_memory chained_postgres:
    chain:
        every_event_names_the_one_before
        so_do_those_of_a_unit_of_work
        writers_at_once_leave_whole_chains;
}
