//! The packets around a violation, one a line.

use std::collections::VecDeque;

use super::agent::{Step, What};
use crate::laws::{Header, Laws, Violation};
use crate::packet::NO_MESSAGE;

/// Lines before a violation that are shown.
const LINES: usize = 60;

/// The last packets that have to do with a violation: of its calls, else of its host.
pub(crate) fn lines(violation: &Violation, trace: &VecDeque<Step>, laws: &Laws) -> Vec<String> {
    let concerns = |step: &&Step| match violation.calls.as_slice() {
        [] => step.packet.from == violation.host || step.packet.to == violation.host,
        calls => call_of(step, laws).is_some_and(|call| calls.contains(&call)),
    };
    let mut lines: Vec<String> = trace
        .iter()
        .rev()
        .filter(concerns)
        .take(LINES)
        .map(|step| line(step, laws))
        .collect();
    lines.reverse();
    lines
}

fn call_of(step: &Step, laws: &Laws) -> Option<u32> {
    if step.packet.message != NO_MESSAGE {
        return Some(step.packet.message / 2);
    }
    let header = Header::read(step.packet.header())?;
    laws.call_between(step.packet.from, step.packet.to, &header)
}

fn line(step: &Step, laws: &Laws) -> String {
    let packet = &step.packet;
    let what = match step.what {
        What::Sent => "sends".to_owned(),
        What::Handled => "reaches".to_owned(),
        What::Lost(why) => format!("loses ({why:?})"),
    };
    let says = Header::read(packet.header())
        .map_or_else(|| "no packet".to_owned(), |header| header.to_string());
    let call = call_of(step, laws).map_or_else(String::new, |call| format!(" call {call}"));
    format!(
        "{:>15} ns  {} -> {} {what} at {}: {says} +{}{call}",
        step.at, packet.from, packet.to, packet.priority, packet.payload_bytes
    )
}
