//! `homa sim contest`: Homa beside a flow like TCP's on an uplink that carries a fourth of what its
//! hosts could send.

use homa_sim::figures::{Contest, ContestRow, contest};
use serde_json::json;

use crate::failure::Failure;
use crate::output::OutputFile;
use crate::sim::args::SimContest;

/// Makes the figure and shows it.
///
/// # Errors
/// Wrong usage, or a file that cannot be written.
pub(crate) fn run(arguments: &SimContest) -> Result<(), Failure> {
    let file = OutputFile::create(arguments.json.as_deref())?;
    let mut rows = Vec::new();
    println!(
        "levels  reserved  buffer, KB  goodput  TCP's fair share  sent again  dropped  queue, KB"
    );
    for what in contests(arguments) {
        let row = contest(what).map_err(|why| Failure::Usage(why.to_string()))?;
        println!(
            "{:<7} {:<9.3} {:<11} {:<8.3} {:<17.3} {:<11.4} {:<8} {}",
            what.levels,
            f64::from(what.reserved_permille) / 1_000.0,
            what.buffer_bytes / 1_000,
            row.goodput,
            row.tcp_fair_share,
            row.resent,
            row.drops,
            row.queue_max_bytes / 1_000
        );
        rows.push(value(what, &row));
    }
    if let Some(file) = file {
        file.write(json!({ "rows": rows }).to_string().as_bytes())?;
    }
    Ok(())
}

/// All that is asked for; a level that is the flow's alone leaves at least one for Homa.
fn contests(arguments: &SimContest) -> impl Iterator<Item = Contest> {
    let levels = arguments.levels.iter().flat_map(|&levels| {
        let reserves = arguments.reserve.iter().copied();
        reserves.map(move |reserved| (levels, reserved))
    });
    let possible = levels.filter(|&(levels, reserved)| levels > 1 || reserved == 0);
    possible.flat_map(|(levels, reserved_permille)| {
        arguments.buffer.iter().map(move |&buffer_bytes| Contest {
            levels,
            reserved_permille,
            buffer_bytes,
        })
    })
}

fn value(what: Contest, row: &ContestRow) -> serde_json::Value {
    json!({
        "levels": what.levels,
        "reserved_permille": what.reserved_permille,
        "buffer_bytes": what.buffer_bytes,
        "goodput": row.goodput,
        "tcp_fair_share": row.tcp_fair_share,
        "resent": row.resent,
        "drops": row.drops,
        "queue_max_bytes": row.queue_max_bytes,
    })
}
