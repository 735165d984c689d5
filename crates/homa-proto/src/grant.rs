//! The granter: which messages being received hold grants, how far, at which priority.
//!
//! Up to `overcommitment` messages are active; the others wait, by sender, fewest bytes missing
//! first. A sender gets a second place only when no other sender wants one. Ranks are by bytes
//! *not received*: by bytes not granted, a nearly granted giant would starve the small messages
//! of its sender. Decides; the engine sends.
//!
//! *Design*: the reference keeps copies of sizes in its active set that go stale; here every
//! arrival refreshes them. A message that is silent for a resend interval is parked: its place
//! and its share of the outstanding bytes go to others until it is heard again. One that is silent
//! for `grant_patience` gives up that share alone: its sender is busy with others, and its bytes
//! are not on their way, so that those of others may be.

mod active;
mod decide;
mod entry;
mod outstanding;
mod rules;
mod silence;
#[cfg(test)]
mod tests;

use core::net::Ipv6Addr;

use crate::chunks::{Chunks, Full};
use crate::hash::{HashIndex, Key, TableKey};
use crate::heap::{Heap, Nodes};
use crate::host::{HostView, Ranks};
use crate::list::Fifo;
use crate::peer::halves;
use crate::slab::{Slab, Vacant};
use crate::time::Instant;
use crate::wire::Priority;

use active::Actives;
use entry::{ABSENT, Entry, Standing};
use outstanding::Outstanding;
pub(crate) use rules::Rules;

/// Most messages that can be active.
const SLOTS: usize = 8;

/// A host that sends us messages that need grants.
struct Sender {
    ip: Ipv6Addr,
    messages: u32,
    active: u32,
    waiting: Heap,
}

impl Vacant for Sender {
    type Alignment = u32;

    const VACANT: Self = Self {
        ip: Ipv6Addr::UNSPECIFIED,
        messages: 0,
        active: 0,
        waiting: Heap::EMPTY,
    };
}

/// What the granter knows of a message's progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) length: u32,
    /// Bytes received.
    pub(crate) received: u32,
    /// End of what the sender may send.
    pub(crate) granted: u32,
}

/// A decision of the granter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) rpc: u32,
    /// The sender may send every byte before this one.
    pub(crate) offset: u32,
    pub(crate) priority: Priority,
    pub(crate) fifo: bool,
}

pub(crate) struct Granter {
    entries: Chunks<Entry>,
    senders: Slab<Sender>,
    sender_index: HashIndex,
    key: TableKey,
    /// Nodes of the senders' heaps of waiting messages.
    waiting: Nodes,
    /// Senders with waiting messages: fewest active ones first, then best message.
    candidates: Heap,
    candidate_nodes: Nodes,
    active: Actives,
    /// All known messages, oldest first.
    by_age: Fifo,
    /// Messages that are charged, those first that have been silent for longest.
    by_silence: Fifo,
    births: u32,
    /// Bytes granted and not received, over all messages but parked and silent ones.
    incoming: Outstanding,
    /// A message could use a grant, but too much is outstanding.
    is_full: bool,
    /// Something changed since the last time that `decide` found nothing to do.
    stale: bool,
    fifo_due: Instant,
    last_was_ordinary: bool,
    /// What the host's other engines grant.
    others: HostView,
}

impl Granter {
    pub(crate) fn new(max_senders: u32, key: Key) -> Result<Self, Full> {
        Ok(Self {
            entries: Chunks::new(),
            senders: Slab::new(max_senders),
            sender_index: HashIndex::new()?,
            key: TableKey::new(key),
            waiting: Nodes::new(),
            candidates: Heap::EMPTY,
            candidate_nodes: Nodes::new(),
            active: Actives::new()?,
            by_age: Fifo::new(),
            by_silence: Fifo::new(),
            births: 0,
            incoming: Outstanding::NONE,
            is_full: false,
            stale: false,
            fifo_due: Instant::ZERO,
            last_was_ordinary: false,
            others: HostView::default(),
        })
    }

    pub(crate) fn ensure(&mut self, rpc: u32) -> Result<(), Full> {
        self.entries.ensure(rpc, ABSENT)?;
        self.waiting.ensure(rpc)?;
        self.by_age.ensure(rpc)?;
        self.by_silence.ensure(rpc)
    }

    /// Makes room for `more` senders than there are, as far as the limit goes.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<(), Full> {
        let count = self.senders.reserve(more)?;
        self.sender_index.reserve(count)?;
        match count.checked_sub(1) {
            Some(last) => self.candidate_nodes.ensure(last),
            None => Ok(()),
        }
    }

    /// Bytes granted and not yet received.
    pub(crate) fn incoming(&self) -> u64 {
        self.incoming.total()
    }

    /// Messages that hold a place.
    pub(crate) fn active_count(&self) -> usize {
        self.active.rpcs().len()
    }

    /// Whether messages wait for a place.
    pub(crate) fn has_waiting(&self) -> bool {
        self.candidates.first().is_some()
    }

    /// End of the bytes of a message that those granted after them may overtake in the network.
    pub(crate) fn overtaken_to(&self, rpc: u32) -> u32 {
        match self.entries[rpc].standing {
            Standing::Absent => 0,
            _ => self.entries[rpc].raised_at,
        }
    }

    /// Whether a message that is known here stands behind one that holds a place and has fewer bytes
    /// missing: those go ahead of its own.
    pub(crate) fn is_outranked(&self, rpc: u32) -> bool {
        let entry = self.entries[rpc];
        let goes_ahead = |best| best < entry.place_in_order();
        entry.standing != Standing::Absent && self.active.best().is_some_and(goes_ahead)
    }

    /// Bytes missing of the active messages.
    pub(crate) fn ranks(&self, rules: &Rules) -> Ranks {
        let mut ranks = Ranks::default();
        for &rpc in self.active.rpcs() {
            ranks.insert((self.entries[rpc].remaining(), rules.engine));
        }
        ranks
    }

    /// When the next FIFO grant is due.
    pub(crate) fn fifo_due(&self) -> Instant {
        self.fifo_due
    }

    /// What the host's other engines grant.
    pub(crate) fn set_host_view(&mut self, view: &HostView) {
        self.stale |= self.others != *view;
        self.fifo_due = self.fifo_due.max(view.fifo_due);
        self.others = *view;
    }

    /// Active messages of the whole host.
    fn host_active_count(&self, rules: &Rules) -> usize {
        (self.active_count() + self.others.ranks.len()).min(rules.slots)
    }

    /// A message made progress; one that needs grants and is not known joins.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        rules: &Rules,
        rpc: u32,
        ip: Ipv6Addr,
        progress: Progress,
    ) {
        let Progress {
            length,
            received,
            granted,
        } = progress;
        let absent = self.entries[rpc].standing == Standing::Absent;
        if absent && (granted >= length || self.join(rpc, ip, length).is_err()) {
            return;
        }
        let entry = &mut self.entries[rpc];
        self.incoming.take(entry);
        entry.received = received;
        entry.granted = granted;
        entry.is_silent = false;
        self.incoming.add(entry);
        if entry.standing == Standing::Active {
            self.active.set(rpc, entry.place_in_order());
        }
        self.stale = true;
        self.listen(now, rules, rpc);
        self.place(rules, rpc);
    }

    /// Gives a message whose numbers changed the standing that it deserves.
    fn place(&mut self, rules: &Rules, rpc: u32) {
        let entry = self.entries[rpc];
        if entry.granted >= entry.length {
            if entry.standing == Standing::Parked {
                self.entries[rpc].standing = Standing::Granted;
                self.incoming.add(&self.entries[rpc]);
            } else if entry.standing != Standing::Granted {
                self.retire(rules, rpc);
            }
            return;
        }
        if entry.standing == Standing::Parked {
            self.entries[rpc].standing = Standing::Waiting;
            self.incoming.add(&self.entries[rpc]);
        }
        if self.entries[rpc].standing == Standing::Waiting {
            self.queue(rpc);
            self.contend(rules, rpc);
        }
    }

    fn join(&mut self, rpc: u32, ip: Ipv6Addr, length: u32) -> Result<(), Full> {
        let sender = self.find_or_make_sender(ip)?;
        self.senders[sender].messages += 1;
        self.births = self.births.wrapping_add(1);
        self.entries[rpc] = Entry {
            standing: Standing::Waiting,
            sender,
            length,
            received: 0,
            granted: 0,
            birth: self.births,
            ..ABSENT
        };
        self.by_age.push(rpc);
        Ok(())
    }

    fn find_or_make_sender(&mut self, ip: Ipv6Addr) -> Result<u32, Full> {
        let hash = self.key.hash(halves(ip));
        let is_it = |index| self.senders[index].ip == ip;
        if let Some(index) = self.sender_index.find(hash, is_it) {
            return Ok(index);
        }
        let index = self.senders.insert(Sender {
            ip,
            messages: 0,
            active: 0,
            waiting: Heap::EMPTY,
        })?;
        let room = self
            .sender_index
            .ensure(index)
            .and_then(|()| self.candidate_nodes.ensure(index));
        if room.is_err() {
            self.senders.remove(index);
            return Err(Full);
        }
        let (senders, key) = (&self.senders, self.key);
        let hash_of = |index| key.hash(halves(senders[index].ip));
        self.sender_index.insert(hash, index, hash_of);
        Ok(index)
    }

    /// The message is over or needs no more grants.
    pub(crate) fn leave(&mut self, rules: &Rules, rpc: u32) {
        let entry = self.entries[rpc];
        if entry.standing == Standing::Absent {
            return;
        }
        self.incoming.take(&entry);
        self.entries[rpc].standing = Standing::Absent;
        self.by_age.remove(rpc);
        self.by_silence.remove(rpc);
        match entry.standing {
            Standing::Waiting => self.unqueue(rpc),
            Standing::Active => self.vacate(rules, rpc),
            Standing::Granted | Standing::Parked | Standing::Absent => {}
        }
        let sender = &mut self.senders[entry.sender];
        sender.messages -= 1;
        if sender.messages == 0 {
            let hash = self.key.hash(halves(sender.ip));
            self.sender_index.remove(hash, entry.sender);
            self.senders.remove(entry.sender);
        }
        self.stale = true;
    }

    /// The message is silent although bytes are outstanding: its place and its share of the
    /// outstanding bytes go to others. Returns whether it had any.
    pub(crate) fn park(&mut self, rules: &Rules, rpc: u32) -> bool {
        let entry = self.entries[rpc];
        if matches!(entry.standing, Standing::Absent | Standing::Parked) {
            return false;
        }
        self.incoming.take(&entry);
        self.entries[rpc].standing = Standing::Parked;
        self.by_silence.remove(rpc);
        match entry.standing {
            Standing::Waiting => self.unqueue(rpc),
            Standing::Active => self.vacate(rules, rpc),
            Standing::Granted | Standing::Parked | Standing::Absent => {}
        }
        self.stale = true;
        true
    }

    /// Enters a waiting message into its sender's heap, at its present rank.
    fn queue(&mut self, rpc: u32) {
        let entry = self.entries[rpc];
        let sender = &mut self.senders[entry.sender];
        self.waiting.set(&mut sender.waiting, rpc, entry.rank());
        self.rank_sender(entry.sender);
    }

    fn unqueue(&mut self, rpc: u32) {
        let sender = self.entries[rpc].sender;
        self.waiting.remove(&mut self.senders[sender].waiting, rpc);
        self.rank_sender(sender);
    }

    /// Puts a sender where it belongs among those with waiting messages.
    fn rank_sender(&mut self, sender: u32) {
        let Sender {
            active, waiting, ..
        } = &self.senders[sender];
        match waiting.first() {
            Some(best) => {
                let key = (*active, self.waiting.key(best).0.into());
                self.candidate_nodes.set(&mut self.candidates, sender, key);
            }
            None => self.candidate_nodes.remove(&mut self.candidates, sender),
        }
    }

    /// Makes a waiting message active.
    fn promote(&mut self, rpc: u32) {
        self.unqueue(rpc);
        let sender = self.entries[rpc].sender;
        self.entries[rpc].standing = Standing::Active;
        self.active.insert(rpc, self.entries[rpc].place_in_order());
        self.senders[sender].active += 1;
        self.rank_sender(sender);
    }

    /// Takes an active message's place away.
    fn demote(&mut self, rpc: u32) {
        let sender = self.entries[rpc].sender;
        self.active.remove(rpc);
        self.senders[sender].active -= 1;
        self.rank_sender(sender);
    }

    /// Takes a place away and gives it to the waiting message that it belongs to next.
    fn vacate(&mut self, rules: &Rules, rpc: u32) {
        self.demote(rpc);
        self.fill(rules);
    }

    fn fill(&mut self, rules: &Rules) {
        while self.active_count() < rules.slots {
            let Some(sender) = self.candidates.first() else {
                return;
            };
            let Some(rpc) = self.senders[sender].waiting.first() else {
                return;
            };
            self.promote(rpc);
        }
    }

    /// A waiting message improved: does it deserve a place, and whose?
    fn contend(&mut self, rules: &Rules, rpc: u32) {
        self.fill(rules);
        if self.entries[rpc].standing != Standing::Waiting {
            return;
        }
        let newcomer = self.entries[rpc];
        let count_with =
            |sender: u32| self.senders[sender].active + u32::from(sender == newcomer.sender);
        let victim = self.active.rpcs().iter().copied().max_by_key(|&active| {
            let entry = &self.entries[active];
            (count_with(entry.sender), entry.rank())
        });
        let Some(victim) = victim else {
            return;
        };
        let entry = self.entries[victim];
        let crowded = count_with(entry.sender) > count_with(newcomer.sender);
        let outranked = count_with(entry.sender) == count_with(newcomer.sender)
            && newcomer.rank() < entry.rank();
        if crowded || outranked {
            self.demote(victim);
            self.entries[victim].standing = Standing::Waiting;
            self.queue(victim);
            self.promote(rpc);
        }
    }

    /// A fully granted message needs its place no more; what it has outstanding still counts.
    fn retire(&mut self, rules: &Rules, rpc: u32) {
        let standing = self.entries[rpc].standing;
        self.entries[rpc].standing = Standing::Granted;
        self.by_age.remove(rpc);
        match standing {
            Standing::Waiting => self.unqueue(rpc),
            Standing::Active => self.vacate(rules, rpc),
            Standing::Granted | Standing::Parked | Standing::Absent => {}
        }
    }
}
