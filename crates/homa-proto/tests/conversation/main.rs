//! Conversations with one engine, read from the files beside this one: packets in, and what the
//! engine sends and tells, each at its exact time. A line that does not come true is told with its
//! number.
//!
//! ```text
//! role server port 99         the engine; the peer is at 10.0.0.2, client ports 32768, servers 99
//! config stripped_peers       a switch of the engine
//! form stripped|sequence|both how the peer writes its packets (both is ours)
//! capture FILE                what the peer sent in a capture of the reference; `<<` lines name it
//! TIME < PACKET               the peer sends; DATA longer than a packet goes in packets of 1,424
//! TIME << PACKET              the next packets of the capture are these and come at their own times, the
//!                             first at TIME: DATA in a row is one line; `9 times`; `lost` on the way
//! TIME > PACKET               the engine sends; DATA in a row at one moment is one line
//! TIME bytes HEX..            with these bytes the packet of the line before begins; `..` is any byte
//! TIME call|reply LENGTH      the application speaks
//! TIME event ...              the application is told
//! TIME quiet                  nothing happened up to here
//! ```
//!
//! Times are milliseconds. `*` stands for any word; `$x` for the word it stood for first. `rpc` is
//! the client's number of the RPC, whoever speaks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../captured/mod.rs"]
mod captured;
mod packets;
mod player;
mod replay;

macro_rules! conversations {
    ($($name:ident $file:literal)*) => {
        $(
            #[test]
            fn $name() {
                player::play($file, include_str!($file));
            }
        )*
    };
}

conversations! {
    a_short_rpc_is_answered_and_its_ack_asked_for "short_server.txt"
    a_short_rpc_is_called_and_acknowledged_when_asked "short_client.txt"
    a_long_request_is_granted "granted_server.txt"
    a_long_request_waits_for_grants_old_ones_too "granted_client.txt"
    a_lost_packet_is_asked_for_after_5_ms "loss_server.txt"
    a_silent_server_is_asked_every_5_ms_and_given_up_at_100 "silence_client.txt"
    a_stripped_client_is_answered_where_that_is_allowed "stripped_server.txt"
    a_stripped_client_gets_three_times_its_bytes_otherwise "stripped_refused.txt"
    a_stripped_server_asks_for_what_it_cannot_grant "stripped_client.txt"
    an_unknown_rpc_is_sent_again_from_its_start "unknown_client.txt"
    what_a_server_does_not_know_it_says "unknown_server.txt"
    cutoffs_set_levels_and_their_version_is_echoed "cutoffs_client.txt"
    a_busy_server_is_asked_less_and_less_often "busy_client.txt"
    a_client_asked_for_its_ack_gives_it_or_asks_for_what_is_missing "need_ack_client.txt"
    a_freeze_changes_nothing "freeze_server.txt"
    what_a_client_sends_is_exact_to_the_byte "exact_client.txt"
    what_a_server_sends_is_exact_to_the_byte "exact_server.txt"
    a_client_that_vanishes_is_asked_every_5_ms_and_given_up_at_100 "silence_server.txt"
    the_captured_client_of_a_short_rpc_is_answered "captured_short_server.txt"
    the_captured_server_of_a_short_rpc_answers "captured_short_client.txt"
    the_captured_client_of_a_granted_rpc_is_answered "captured_granted_server.txt"
    the_captured_server_of_a_granted_rpc_answers "captured_granted_client.txt"
    the_captured_client_with_a_small_grant_window_is_answered "captured_window_server.txt"
    the_captured_server_with_a_small_grant_window_answers "captured_window_client.txt"
    the_captured_client_of_an_rpc_with_losses_is_answered "captured_losses_server.txt"
    the_captured_server_of_an_rpc_with_losses_answers "captured_losses_client.txt"
    the_captured_client_that_hijacks_tcp_is_answered "captured_hijack_server.txt"
    the_captured_server_that_leaves_cutting_to_hardware_answers "captured_hijack_client.txt"
}
