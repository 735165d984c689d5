//! Under which conditions a benchmark measured, as every report says them.

use std::fs;

use serde::Serialize;

use super::args::Common;
use super::meter::Sample;
use super::placement::Placement;
use super::sockets;
use crate::network::Over;

/// The CPU time of others that a sample may have, as a fraction of the processors' time.
pub(super) const FOREIGN_MAX: f64 = 0.05;

/// Where, for how long, and how undisturbed.
#[derive(Serialize)]
pub(super) struct Conditions {
    over: Over,
    rounds: u32,
    /// Length of a turn, without its warm-up.
    seconds: f64,
    /// Processors of client and server.
    cpus: Placement,
    kernel: String,
    /// What the system granted of the 4 MiB that every UDP socket asks for.
    receive_buffer_bytes: usize,
    /// Samples that were measured again because others took too much CPU time.
    rejected_count: u32,
    /// Turns that failed and were repeated, and why.
    failures: Vec<String>,
    /// Samples in the figures that had too much CPU time of others.
    dirty_count: u32,
    /// The largest share of others in a sample of the figures.
    foreign_max: f64,
    /// Variants that this machine does not allow, and why.
    left_out: Vec<String>,
}

impl Conditions {
    /// Before the first sample.
    pub(super) fn new(common: &Common, seconds: f64, cpus: Placement) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            over: common.over,
            rounds: common.rounds,
            seconds,
            cpus,
            kernel: kernel.trim().to_owned(),
            receive_buffer_bytes: sockets::receive_buffer_granted().unwrap_or(0),
            rejected_count: 0,
            failures: Vec::new(),
            dirty_count: 0,
            foreign_max: 0.0,
            left_out: Vec::new(),
        }
    }

    /// Variants are not possible here.
    pub(super) fn leave_out(&mut self, variants: &str, why: &str) {
        self.left_out.push(format!("{variants}: {why}"));
    }

    /// A sample was disturbed and is measured again.
    pub(super) const fn reject(&mut self) {
        self.rejected_count += 1;
    }

    /// A turn failed and is repeated.
    pub(super) fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    /// A sample goes into the figures.
    pub(super) fn admit(&mut self, sample: &Sample) {
        self.foreign_max = self.foreign_max.max(sample.usage.foreign);
        self.dirty_count += u32::from(is_dirty(sample));
    }

    /// In sentences; `what` says what was measured.
    pub(super) fn sentences(&self, what: &str) -> Vec<String> {
        let Self {
            over,
            rounds,
            seconds,
            kernel,
            cpus,
            ..
        } = self;
        let failures = self.failures.iter();
        let left_out = self.left_out.iter();
        let mut lines = vec![
            format!("{what}, over {over}, {cpus}."),
            format!(
                "Medians and ranges of {rounds} rounds of {seconds} s, in which the variants \
                 alternate; Linux {kernel}; UDP receive buffers of {} bytes; TCP without delay, \
                 with cubic where nothing else is said.",
                self.receive_buffer_bytes
            ),
            self.quietness(),
        ];
        if cfg!(debug_assertions) {
            lines.push("This build is not optimised: the figures say nothing.".to_owned());
        }
        lines.extend(failures.map(|why| format!("A turn failed and was repeated: {why}.")));
        lines.extend(left_out.map(|what| format!("Left out: {what}.")));
        lines
    }

    fn quietness(&self) -> String {
        let (limit, most) = (FOREIGN_MAX * 100.0, self.foreign_max * 100.0);
        match (self.dirty_count, self.rejected_count) {
            (0, 0) => format!("Others took at most {most:.1} % of the processors' time."),
            (0, rejected) => format!(
                "Others took at most {most:.1} % of the processors' time; {rejected} samples with \
                 more than {limit:.0} % were measured again."
            ),
            (dirty, _) => format!(
                "DIRTY: in {dirty} samples others took more than {limit:.0} % of the processors' \
                 time, up to {most:.0} %; trust no figure that matters."
            ),
        }
    }
}

/// Whether others took too much of the processors' time.
pub(super) fn is_dirty(sample: &Sample) -> bool {
    sample.usage.foreign > FOREIGN_MAX
}
