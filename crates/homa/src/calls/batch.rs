//! Many calls, and many completions, at a time: one lock, one look at the clock and as few system
//! calls as they need.

use core::net::SocketAddr;
use core::task::Waker;

use super::{ClientCore, Completion, Terms};
use crate::error::{CallError, RecvError};
use crate::options::CallOptions;
use crate::parties::RawCompletion;
use crate::shared::{Broken, Outgoing, Source};
use crate::state::State;
use crate::waiting::Ticket;

/// One call of many, see `submit_all` of the clients.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    /// The server.
    pub server: SocketAddr,
    /// The request.
    pub request: Source<'a>,
    /// Comes back with the completion.
    pub cookie: u64,
    /// A deadline, or a promise that the request may run twice.
    pub options: CallOptions,
}

impl<'a> Submission<'a> {
    /// A call without special wishes.
    pub fn new(server: SocketAddr, request: impl Into<Source<'a>>, cookie: u64) -> Self {
        Self {
            server,
            request: request.into(),
            cookie,
            options: CallOptions::default(),
        }
    }
}

/// Calls that are handed to the state together; the others get their turn in between.
const SUBMITTED_AT_ONCE: usize = 64;

impl ClientCore {
    /// Submits calls under one lock and with one look at the clock. One that cannot be started
    /// completes at once.
    pub(crate) fn submit_all<'a>(
        &self,
        calls: impl IntoIterator<Item = Submission<'a>>,
    ) -> Result<(), Broken> {
        // Requests are made and long ones copied before the lock is taken.
        let mut ready = Vec::with_capacity(SUBMITTED_AT_ONCE);
        let mut calls = calls.into_iter();
        loop {
            let now = self.shared().parts.clock.now();
            ready.extend(calls.by_ref().take(SUBMITTED_AT_ONCE).map(|call| {
                let terms = self.terms_at(now, call.server, &call.options);
                let request = self.admit(call.request, &terms);
                (call.cookie, terms, request)
            }));
            if ready.is_empty() {
                return Ok(());
            }
            let mut state = self.shared().lock()?;
            let mut latest = now;
            for (cookie, mut terms, request) in ready.drain(..) {
                let party = self.submitted(&terms, cookie);
                // The first may have opened a socket.
                terms.now = latest;
                match request.and_then(|request| self.launch(&mut state, &terms, party, request)) {
                    Ok((_, now)) => latest = now,
                    Err(error) => self.complete(&mut state, cookie, &terms, error),
                }
            }
            state.settle_and_alert(latest);
        }
    }

    /// A request with its room in the send budget, on its way to the state.
    fn admit<'a>(&self, request: Source<'a>, terms: &Terms) -> Result<Outgoing<'a>, CallError> {
        self.check(request.len(), terms)?;
        self.reserve(request.len())?;
        self.outgoing(request)
    }

    /// A submitted call ends before it began.
    fn complete(&self, state: &mut State, cookie: u64, terms: &Terms, error: CallError) {
        let completion = RawCompletion {
            cookie,
            peer: terms.peer.into(),
            result: Err(error),
        };
        let State { parties, woken, .. } = state;
        if let Some(entry) = parties.clients.get_mut(self.client) {
            entry.complete(completion, woken);
        }
    }

    /// All completions that there are, at least one; else has `waker` called when there may be one.
    pub(crate) fn completions(
        &self,
        state: &mut State,
        into: &mut Vec<Completion>,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<Result<usize, RecvError>> {
        let first = match self.completion(state, ticket, waker)? {
            Ok(first) => first,
            Err(error) => return Some(Err(error)),
        };
        let before = into.len();
        into.push(first);
        if let Some(entry) = state.parties.clients.get_mut(self.client) {
            into.extend(entry.done.drain(..).map(Completion::from));
        }
        Some(Ok(into.len() - before))
    }
}
