//! Which change of state an event means, as far as it shows outside the engine: for the table of
//! what runs reached.

use homa_proto::Event;

use super::{Key, Laws};
use crate::packet::NO_MESSAGE;

/// Changes of state of an RPC; those of a client first.
pub(crate) const TRANSITIONS: [&str; 14] = [
    "client: request waits, over",
    "client: request goes out, response comes in",
    "client: request goes out, over",
    "client: response comes in, over with it",
    "client: response comes in, over without it",
    "server: request comes in",
    "server: request comes in, in service",
    "server: request comes in, over",
    "server: in service, response goes out",
    "server: in service, over",
    "server: refused, over",
    "server: response goes out, over",
    "server: waits for its ack, over with it",
    "server: waits for its ack, over without it",
];

impl Laws {
    /// The change that an event means; asked before the event is judged.
    pub(crate) fn transition(
        &self,
        host: u32,
        engine: usize,
        event: &Event,
    ) -> Option<&'static str> {
        let key = |rpc: homa_proto::RpcKey| (engine, rpc.to_bits());
        Some(match *event {
            Event::Request { .. } => "server: request comes in, in service",
            Event::Response { .. } => "client: response comes in, over with it",
            Event::Failed { rpc, .. } => {
                let it = &self.hosts[host as usize];
                let call = &self.calls[*it.calls.get(&key(rpc))? as usize];
                if call.request.sent == 0 {
                    "client: request waits, over"
                } else if it.incoming.contains_key(&key(rpc)) {
                    "client: response comes in, over without it"
                } else {
                    "client: request goes out, over"
                }
            }
            Event::Ended { rpc, delivered } => self.server_end(host, key(rpc), delivered)?,
        })
    }

    fn server_end(&self, host: u32, key: Key, delivered: bool) -> Option<&'static str> {
        let Some(&of) = self.hosts[host as usize].serving.get(&key) else {
            return Some("server: request comes in, over");
        };
        if of == NO_MESSAGE {
            return None;
        }
        let call = &self.calls[of as usize / 2];
        Some(if call.dropped {
            "server: refused, over"
        } else if !call.replied {
            "server: in service, over"
        } else if call.response.sent < call.response.length {
            "server: response goes out, over"
        } else if delivered {
            "server: waits for its ack, over with it"
        } else {
            "server: waits for its ack, over without it"
        })
    }

    /// The change that the first bytes of a message mean.
    pub(crate) fn first_bytes(&self, host: u32, key: Key) -> &'static str {
        if self.hosts[host as usize].calls.contains_key(&key) {
            "client: request goes out, response comes in"
        } else {
            "server: request comes in"
        }
    }
}
