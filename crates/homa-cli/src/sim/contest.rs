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
    println!("levels  buffer, KB  goodput  TCP's fair share  sent again  dropped  queue, KB");
    for &levels in &arguments.levels {
        for &buffer_bytes in &arguments.buffer {
            let what = Contest {
                levels,
                buffer_bytes,
            };
            let row = contest(what).map_err(|why| Failure::Usage(why.to_string()))?;
            println!(
                "{levels:<7} {:<11} {:<8.3} {:<17.3} {:<11.4} {:<8} {}",
                buffer_bytes / 1_000,
                row.goodput,
                row.tcp_fair_share,
                row.resent,
                row.drops,
                row.queue_max_bytes / 1_000
            );
            rows.push(value(what, &row));
        }
    }
    if let Some(file) = file {
        file.write(json!({ "rows": rows }).to_string().as_bytes())?;
    }
    Ok(())
}

fn value(what: Contest, row: &ContestRow) -> serde_json::Value {
    json!({
        "levels": what.levels,
        "buffer_bytes": what.buffer_bytes,
        "goodput": row.goodput,
        "tcp_fair_share": row.tcp_fair_share,
        "resent": row.resent,
        "drops": row.drops,
        "queue_max_bytes": row.queue_max_bytes,
    })
}
