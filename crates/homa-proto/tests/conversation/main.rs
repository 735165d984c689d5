//! Conversations with one engine, read from the files beside this one: packets in, and what the
//! engine sends and tells, each at its exact time. A line that does not come true is told with its
//! number.
//!
//! ```text
//! role server port 99         the engine; the peer is at 10.0.0.2, client ports 32768, servers 99
//! config stripped_peers       a switch of the engine
//! form stripped|sequence|both how the peer writes its packets (both is ours)
//! TIME < PACKET               the peer sends; DATA longer than a packet goes in packets of 1,424
//! TIME > PACKET               the engine sends; DATA in a row at one moment is one line
//! TIME call|reply LENGTH      the application speaks
//! TIME event ...              the application is told
//! TIME quiet                  nothing happened up to here
//! ```
//!
//! Times are milliseconds. `*` stands for any word; `$x` for the word it stood for first. `rpc` is
//! the client's number of the RPC, whoever speaks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod packets;
mod player;

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
}
