//! The contract suite: what the library promises, each behaviour written once and run on every kind of broker.
//!
//! A behaviour is an async function of a [`Setup`]. [`contract!`](crate::contract!) lists all of them and makes a
//! test of each.

pub mod administering;
pub mod failing;
pub mod grouping;
pub mod ordering;
pub mod publishing;
pub mod routing;
mod seen;
mod setup;
pub mod starting;
pub mod stopping;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result};

pub use self::setup::{Setup, end};

/// How a behaviour fails.
pub type Failure = anyhow::Error;

/// No behaviour takes this long on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs one behaviour, with a time limit that no behaviour needs.
///
/// # Errors
/// The behaviour's, or that it did not end.
pub async fn run(behaviour: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::time::timeout(LIMIT, behaviour)
        .await
        .context("the behaviour did not end")?
}

/// One `#[tokio::test]` for each behaviour: `contract!(setup, kafka)` or `contract!(setup, embedded)`, where `setup`
/// is a function that returns a [`Setup`].
///
/// The embedded broker does not support rows marked `kafka only`: there, the test is ignored with the reason.
#[macro_export]
macro_rules! contract {
    ($setup:path, $broker:ident) => {
        $crate::contract_rows! { $setup, $broker,
            publishing::every_sample_arrives_with_equal_fields;
            publishing::integers_above_2_to_the_53_stay_exact;
            publishing::the_receipt_says_where_the_handler_finds_the_event;
            publishing::the_receipt_has_the_timestamp_of_the_record,
                kafka only: "the embedded broker acknowledges every event with the same timestamp";
            publishing::events_of_a_key_stay_in_order;
            publishing::headers_and_timestamps_arrive;
            routing::each_name_has_its_handler;
            routing::a_catch_all_stands_beside_named_handlers;
            routing::a_handler_registered_a_moment_later_misses_nothing;
            routing::workers_of_one_client_share_the_events;
            routing::unmatched_records_are_acknowledged;
            routing::unmatched_records_are_dead_lettered_on_demand;
            routing::a_raw_handler_gets_the_bytes;
            failing::what_cannot_be_decoded_is_skipped_and_told;
            failing::what_cannot_be_decoded_is_dead_lettered_as_it_came;
            failing::a_failing_event_is_tried_again_with_growing_attempts;
            failing::an_exhausted_event_is_dead_lettered_with_its_story;
            failing::a_handler_dead_letters_what_no_retry_mends;
            failing::a_panic_is_a_failed_attempt;
            ordering::keys_run_in_parallel_and_in_order;
            ordering::partitions_run_in_parallel_and_in_order;
            ordering::serial_runs_one_at_a_time;
            ordering::a_failing_key_holds_back_no_other;
            grouping::workers_of_two_clients_share_the_events,
                kafka only: "a rebalance after the first takes the embedded broker the session timeout";
            grouping::a_second_client_goes_on_where_the_first_stopped;
            grouping::a_group_without_a_name_sees_all_from_its_start;
            grouping::two_named_groups_see_everything_each;
            grouping::a_group_starts_at_the_offset_it_is_given;
            grouping::each_partition_starts_at_the_offset_it_is_given;
            grouping::a_group_starts_at_the_time_it_is_given,
                kafka only: "the embedded broker finds no offset by time";
            grouping::a_paused_subscription_goes_on_when_resumed;
            grouping::a_cancelled_context_stops_the_subscription;
            grouping::disagreeing_options_are_refused;
            starting::what_is_published_after_ready_is_handled;
            starting::a_topic_that_comes_after_ready_is_handled_from_its_first_event;
            starting::a_second_topic_has_a_ready_of_its_own;
            starting::a_subscription_that_ends_is_never_ready;
            stopping::a_paused_subscription_that_stops_holds_up_no_other;
            stopping::a_failing_subscription_that_stops_holds_up_no_other;
            stopping::a_policy_that_stops_ends_the_whole_group;
            stopping::idle_waits_for_what_is_queued_and_running;
            stopping::serial_begins_nothing_after_a_stop;
            stopping::workers_that_come_and_go_keep_the_order;
            administering::metadata_has_the_lag_of_a_group;
            administering::a_group_can_be_named_as_on_the_broker;
            administering::asking_for_an_unknown_topic_does_not_create_it;
            administering::audit_logs_arrive;
            administering::disabled_audit_logs_are_checked_and_not_written;
            administering::a_second_shutdown_does_nothing;
        }
    };
}

/// One or more rows of the table.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_rows {
    ($setup:path, $broker:ident,
     $($module:ident::$name:ident $(, kafka only: $reason:literal)?;)*) => {
        $($crate::contract_test! { $setup, $broker, $module, $name $(, $reason)? })*
    };
}

/// One test.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_test {
    ($setup:path, embedded, $module:ident, $name:ident, $reason:literal) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = $reason]
        async fn $name() -> Result<(), $crate::contract::Failure> {
            $crate::contract::run($crate::contract::$module::$name(&$setup())).await
        }
    };
    ($setup:path, $broker:ident, $module:ident, $name:ident $(, $reason:literal)?) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<(), $crate::contract::Failure> {
            $crate::contract::run($crate::contract::$module::$name(&$setup())).await
        }
    };
}
