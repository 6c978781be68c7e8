//! The suite that every backend of the store passes: scenarios over the trait, in virtual time, without sleeping.
//!
//! A backend gives a function that returns a [`Make`]; every scenario is a test of its own then. Opening twice with one
//! `Make` opens the same storage, as a process that was started again does.

pub(crate) mod blame;
pub(crate) mod chains;
pub(crate) mod ends;
mod ground;
pub(crate) mod identity;
mod interleavings;
pub(crate) mod placing;
pub(crate) mod requests;
pub(crate) mod results;
pub(crate) mod sessions;
pub(crate) mod standing;
pub(crate) mod survival;

use super::{Store, Ticker};
use std::sync::Arc;

pub(crate) use ground::{Ground, HandTicker, Node, chain};
pub(crate) use interleavings::random_interleavings_keep_the_rules;

/// Opens one fresh storage, again and again.
pub(crate) type Make = Box<dyn Fn(Arc<dyn Ticker>) -> Arc<dyn Store> + Send + Sync>;

/// Makes a test of every scenario; `$fresh` names a function beside the call that returns a [`Make`].
macro_rules! conformance_suite {
    ($fresh:ident) => {
        $crate::store::conformance::conformance_suite! { @each $fresh;
            identity: fifty_bearers_race_for_one_use, the_same_key_is_the_same_use, a_bad_token_changes_nothing, names_are_unique,
                renewal_keeps_the_identity;
            sessions: a_session_is_fenced_by_its_epoch, removed_nodes_stay_out_and_pending_ones_get_nothing,
                a_node_is_lost_after_its_grace, a_restarted_server_gives_every_node_its_grace, nodes_are_what_they_last_said;
            requests: the_same_key_is_the_same_request, what_comes_with_a_request_can_be_read, a_plan_is_attached_once,
                its_progress_is_read_on_from_where_one_was,
                a_later_plan_takes_over_what_is_done, plan_zero_is_work_and_not_the_answer, bytes_go_when_their_time_is_over;
            placing: priority_comes_before_age, a_lease_keeps_others_away, of_fifty_planners_one_assigns,
                a_node_takes_one_more_than_its_slots, who_refuses_too_late_changes_nothing, only_the_session_that_was_looked_at_gets_work;
            results: after_a_loss_the_same_work_is_not_done_twice, a_chain_runs_to_its_answer, a_diamond_waits_for_both_sides, a_result_is_taken_once_and_from_its_owner,
                a_node_given_up_may_still_deliver, wrong_ports_are_named, a_large_answer_is_done_on_the_server,
                lost_results_are_made_again, a_step_whose_input_is_gone_waits_for_it, blobs_go_to_whom_they_concern;
            blame: two_nodes_poison, three_nodes_fail, a_bad_input_ends_at_once, loss_is_no_guilt_but_ends_at_ten,
                evidence_may_come_late;
            chains: a_chain_is_one_assignment_and_is_committed_step_by_step, a_chain_that_breaks_is_given_back_and_counts_for_nothing,
                a_lost_node_takes_only_the_rest_of_its_chain_along, a_restarted_agent_keeps_what_it_has_done_of_a_chain,
                poison_is_found_within_a_chain;
            ends: a_cancelled_request_names_what_to_stop, a_deadline_ignores_the_wall_clock, an_end_is_final, a_refusal_says_why;
            standing: deaths_of_steps_that_finish_elsewhere_quarantine, a_container_that_keeps_failing_is_switched_off,
                a_power_cut_is_no_evidence, who_reboots_first_of_many_is_cleared_later, poison_is_kept_away_until_it_is_released,
                a_suspect_step_runs_alone, a_copy_is_told_from_a_restart, operators_decide_about_nodes, events_are_read_on_from_a_cursor,
                what_a_leaving_node_holds_alone_is_known, a_gate_is_told_to_the_fleet_and_to_the_work_there;
            survival: what_was_acknowledged_is_there_after_a_restart, the_clock_goes_on_after_a_restart,
                what_was_learnt_is_there_after_a_restart;
        }
        #[test]
        fn random_interleavings_keep_the_rules() {
            $crate::store::conformance::random_interleavings_keep_the_rules($fresh);
        }
    };
    (@each $fresh:ident; $($module:ident: $($scenario:ident),+;)+) => {$(
        mod $module {$(
            #[tokio::test]
            async fn $scenario() {
                $crate::store::conformance::$module::$scenario(super::$fresh()).await;
            }
        )+}
    )+};
}
pub(crate) use conformance_suite;
