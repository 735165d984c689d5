//! Messages of which nothing comes although bytes are outstanding: their senders are busy with
//! others. Decides when what they were granted is not counted any more.
//!
//! *Design*: all have the same patience, so a queue in the order of the last news is enough. It is
//! looked at only where so much is outstanding that others wait.

use super::{Granter, Rules};
use crate::time::Instant;

impl Granter {
    /// Bytes of a message came, or may come from now on: its silence begins anew.
    pub(super) fn listen(&mut self, now: Instant, rules: &Rules, rpc: u32) {
        if rules.patience.is_none() {
            return;
        }
        self.by_silence.remove(rpc);
        if self.entries[rpc].outstanding() > 0 {
            self.entries[rpc].silent_since = now;
            self.by_silence.push(rpc);
        }
    }

    /// When the next message has been silent for too long, if others wait for that.
    pub(crate) fn next_silence(&self, rules: &Rules) -> Option<Instant> {
        let first = self.is_full.then(|| self.by_silence.first())??;
        Some(self.entries[first].silent_since.after(rules.patience?))
    }

    /// What has been silent for too long is charged no more. Apart from deciding, so that a host's
    /// engines all know of the room before one of them takes it.
    pub(crate) fn hush(&mut self, now: Instant, rules: &Rules) {
        while self.next_silence(rules).is_some_and(|at| at <= now) {
            let Some(rpc) = self.by_silence.pop() else {
                return;
            };
            let entry = &mut self.entries[rpc];
            self.incoming.take(entry);
            entry.is_silent = true;
            self.stale = true;
        }
    }
}
