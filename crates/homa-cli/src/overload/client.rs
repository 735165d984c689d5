//! The load: as many calls as are wanted, and what became of each.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

use homa::blocking::Client;
use homa::{CallError, CallOptions, Completion, Host, Submission};

use super::server::Stand;
use super::{LOOK, MESSAGE_BYTES};

/// Calls under way while the server has just enough: some wait in its queue, so that it is never idle.
const ENOUGH: u64 = 64;

/// No call is to end by its deadline: who has no room says so.
const DEADLINE: Duration = Duration::from_secs(5);

/// How often calls that are due are made.
const TURN: Duration = Duration::from_millis(1);

/// What became of calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes {
    pub(super) good: u64,
    /// The server said that it has no room.
    pub(super) refused_there: u64,
    /// There was no room at home.
    pub(super) refused_here: u64,
    pub(super) late: u64,
    pub(super) other: u64,
    /// One of those.
    pub(super) first_other: Option<String>,
    /// Responses of the second that had the fewest.
    pub(super) worst_second: u64,
    pub(super) time: Duration,
}

impl Outcomes {
    /// Responses a second.
    pub(super) fn per_second(&self) -> f64 {
        self.good as f64 / self.time.as_secs_f64()
    }

    fn count(&mut self, completion: &Completion) {
        match &completion.result {
            Ok(_) => self.good += 1,
            Err(CallError::Overloaded) => self.refused_there += 1,
            Err(CallError::TooManyRpcs | CallError::SendBufferFull { .. }) => {
                self.refused_here += 1
            }
            Err(CallError::DeadlineExceeded) => self.late += 1,
            Err(other) => {
                self.other += 1;
                self.first_other.get_or_insert_with(|| other.to_string());
            }
        }
    }
}

/// One client's calls.
pub(super) struct Load<'a> {
    host: &'a Host,
    client: &'a Client,
    server: SocketAddr,
    under_way: u64,
    done: Vec<Completion>,
    stand: Stand,
    looked: Instant,
}

impl<'a> Load<'a> {
    pub(super) fn new(host: &'a Host, client: &'a Client, server: SocketAddr) -> Self {
        Self {
            host,
            client,
            server,
            under_way: 0,
            done: Vec::new(),
            stand: Stand::new(),
            looked: Instant::now(),
        }
    }

    /// The memory of this process so far.
    pub(super) fn stand(&self) -> Stand {
        self.stand.clone()
    }

    /// Keeps just enough calls under way for a while.
    pub(super) fn closed(&mut self, time: Duration) -> Result<Outcomes, CallError> {
        self.run(time, |_, under_way| ENOUGH.saturating_sub(under_way))
    }

    /// Makes `per_second` calls a second, whatever becomes of them.
    pub(super) fn open(&mut self, time: Duration, per_second: f64) -> Result<Outcomes, CallError> {
        let mut made = 0;
        self.run(time, |passed, _| {
            let due = (passed.as_secs_f64() * per_second) as u64 - made;
            made += due;
            due
        })
    }

    /// Waits until every call is over.
    pub(super) fn finish(&mut self) -> Result<(), CallError> {
        let mut outcomes = Outcomes::default();
        let begun = Instant::now();
        while self.under_way > 0 && begun.elapsed() < 2 * DEADLINE {
            self.take(&mut outcomes, TURN)?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        time: Duration,
        mut due: impl FnMut(Duration, u64) -> u64,
    ) -> Result<Outcomes, CallError> {
        let mut outcomes = Outcomes {
            worst_second: u64::MAX,
            ..Outcomes::default()
        };
        let begun = Instant::now();
        let (mut second, mut good_before) = (1, 0);
        while begun.elapsed() < time {
            let passed = begun.elapsed();
            let count = due(passed, self.under_way);
            self.make(count)?;
            self.take(&mut outcomes, TURN)?;
            if passed.as_secs() >= second {
                let good = outcomes.good - good_before;
                outcomes.worst_second = outcomes.worst_second.min(good);
                (second, good_before) = (second + 1, outcomes.good);
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.stand.look(self.host);
            }
        }
        outcomes.time = begun.elapsed();
        Ok(outcomes)
    }

    fn make(&mut self, count: u64) -> Result<(), CallError> {
        let request = [3; MESSAGE_BYTES];
        self.under_way += count;
        self.client.submit_all((0..count).map(|cookie| Submission {
            options: CallOptions {
                deadline: Some(DEADLINE),
                ..CallOptions::default()
            },
            ..Submission::new(self.server, &request[..], cookie)
        }))
    }

    fn take(&mut self, outcomes: &mut Outcomes, patience: Duration) -> Result<(), CallError> {
        let taken = self.client.completions(&mut self.done, Some(patience));
        self.under_way -= taken.map_err(|_| CallError::Closed)? as u64;
        for completion in self.done.drain(..) {
            outcomes.count(&completion);
        }
        Ok(())
    }
}
