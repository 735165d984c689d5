//! `homa sim incast`: one client asks many servers at once.

use homa_sim::figures::{Incast, IncastRow, incast, incast_configs};
use serde_json::json;

use crate::failure::Failure;
use crate::output::OutputFile;
use crate::sim::args::SimIncast;

/// Makes the figure and shows it.
///
/// # Errors
/// Wrong usage, or a file that cannot be written.
pub(crate) fn run(arguments: &SimIncast) -> Result<(), Failure> {
    let file = OutputFile::create(arguments.json.as_deref())?;
    let mut rows = Vec::new();
    println!("incast of {} bytes each", arguments.bytes);
    println!("variant     servers  link filled  packets dropped  queue, KB  calls failed");
    for (variant, config) in incast_configs() {
        for &servers in &arguments.servers {
            let what = Incast {
                servers,
                response_bytes: arguments.bytes,
            };
            let row = incast(what, &config).map_err(|why| Failure::Usage(why.to_string()))?;
            println!(
                "{variant:<11} {servers:<8} {:<12.3} {:<16} {:<10} {}",
                row.link_share,
                row.drops,
                row.queue_max_bytes / 1_000,
                row.failures
            );
            rows.push(value(variant, &row));
        }
    }
    if let Some(file) = file {
        file.write(json!({ "rows": rows }).to_string().as_bytes())?;
    }
    Ok(())
}

fn value(variant: &str, row: &IncastRow) -> serde_json::Value {
    json!({
        "variant": variant,
        "servers": row.servers,
        "link_share": row.link_share,
        "drops": row.drops,
        "queue_max_bytes": row.queue_max_bytes,
        "failures": row.failures,
    })
}
