//! The rounds of a comparison: every variant has a turn, then all have another, so that a
//! disturbance hits all of them.

use core::time::Duration;

use super::args::Common;
use super::placement::Placement;
use super::report::Report;
use super::stage::Stage;
use super::suite::{Extent, Suite, Task};
use crate::failure::Failure;

/// How long a turn is measured, unless something else is asked for.
const WINDOW: Duration = Duration::from_millis(250);

/// Measures everything.
///
/// # Errors
/// The network cannot be made, a process does not do its work, or the machine is never quiet.
pub(super) fn run(
    suite: &'static Suite,
    common: &Common,
    extent: Extent,
    placement: Placement,
) -> Result<Report, Failure> {
    let window = common.seconds.unwrap_or(WINDOW);
    let mut stage = Stage::set(common, window, extent.peers, placement)?;
    let chosen = stage.choose(suite, &common.only, extent.peers)?;
    let has_rivals = suite.ratios.iter().any(|ratio| ratio.to == ["quinn"]);
    if has_rivals && !cfg!(feature = "rivals") {
        stage.conditions.leave_out(
            "quinn, tonic",
            "this build lacks them; `cargo build --release -p homa-cli --features rivals` adds them",
        );
    }
    let progress = stage.expect(chosen.len() as u32 * common.rounds);
    let mut report = Report::new(suite, extent);
    for _ in 0..common.rounds {
        for variant in &chosen {
            progress.say(variant.name);
            let sample = stage.sample(suite, variant, extent, &Task::Compare)?;
            report.add(variant, sample);
        }
    }
    progress.finish();
    report.finish(stage.conditions);
    Ok(report)
}
