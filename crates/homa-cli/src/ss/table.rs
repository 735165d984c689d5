//! What hosts tell, as text for people.

use core::fmt::Write as _;

use serde_json::Value;

use super::Object;

/// Tables with a limit, by the name of their number.
const LIMITED: [(&str, &str); 9] = [
    ("client_rpcs", "RPCs as client"),
    ("server_rpcs", "RPCs as server"),
    ("peers", "peers"),
    ("receive_bytes", "receive budget, bytes"),
    ("send_bytes", "send budget, bytes"),
    ("incoming_bytes", "granted, not received, bytes"),
    ("granted_messages", "messages granted"),
    ("gaps", "gaps and resends"),
    ("tombstone_blocks", "blocks of tombstones"),
];

const PEER_COLUMNS: [(&str, &str); 9] = [
    ("peer", "address"),
    ("RPCs", "rpcs"),
    ("served", "served"),
    ("silent µs", "silent_us"),
    ("RTT µs", "round_trip_us"),
    ("response µs", "response_us"),
    ("grant µs", "grant_us"),
    ("unscheduled", "unscheduled_bytes"),
    ("cutoffs", "cutoffs"),
];

const KERNEL_COLUMNS: [(&str, &str); 7] = [
    ("socket", "local"),
    ("takes requests", "accepts_requests"),
    ("RPCs", "rpcs"),
    ("receiving", "receive_bytes"),
    ("sending", "send_bytes"),
    ("region free", "region_bytes_free"),
    ("uid", "uid"),
];

const RPC_COLUMNS: [(&str, &str); 9] = [
    ("RPC", "id"),
    ("state", "state"),
    ("peer", "peer"),
    ("age µs", "age_us"),
    ("sent", "sent"),
    ("granted", "send_granted"),
    ("of", "send_bytes"),
    ("received", "received"),
    ("of", "receive_bytes"),
];

/// Everything that one host told.
pub(super) fn show(objects: &[Object], counters: bool) -> String {
    let of = |kind: &'static str| {
        objects
            .iter()
            .filter(move |object| object.get("kind").is_some_and(|it| it == kind))
    };
    let mut text = String::new();
    for host in of("host") {
        head(&mut text, host);
    }
    for socket in of("socket") {
        let takes = match socket.get("accepts_requests") {
            Some(Value::Bool(true)) => "takes requests",
            _ => "calls only",
        };
        let _ = writeln!(text, "  socket {}  {takes}", word(socket.get("local")));
    }
    if of("kernel-socket").next().is_some() {
        text.push_str("kernel\n");
    }
    table(&mut text, &KERNEL_COLUMNS, of("kernel-socket"));
    table(&mut text, &PEER_COLUMNS, of("peer"));
    table(&mut text, &RPC_COLUMNS, of("rpc"));
    for counted in of("counters").filter(|_| counters) {
        text.push_str("  counters\n");
        let named = counted.iter().filter(|(name, _)| *name != "kind");
        for (name, value) in named {
            let _ = writeln!(text, "    {:>14} {name}", word(Some(value)));
        }
    }
    text
}

fn head(text: &mut String, host: &Object) {
    let field = |name: &str| word(host.get(name));
    let _ = writeln!(
        text,
        "{}  pid {}  engine {}",
        field("program"),
        field("pid"),
        field("engine")
    );
    for (name, title) in LIMITED {
        let _ = writeln!(
            text,
            "  {title:<28} {:>10} of {}",
            field(name),
            field(&format!("{name}_max"))
        );
    }
}

/// A table, if it has any rows; numbers stand to the right.
fn table<'a>(
    text: &mut String,
    columns: &[(&str, &str)],
    objects: impl Iterator<Item = &'a Object>,
) {
    let mut rows: Vec<Vec<String>> = vec![columns.iter().map(|it| it.0.to_owned()).collect()];
    for object in objects {
        rows.push(columns.iter().map(|it| word(object.get(it.1))).collect());
    }
    if rows.len() == 1 {
        return;
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    for row in rows {
        text.push(' ');
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, " {cell:>width$}");
        }
        text.push('\n');
    }
}

/// A value as it stands in a table; what is not known is a dash.
fn word(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        // Nothing that a terminal would take for an order.
        Some(Value::String(text)) => text.chars().filter(|it| !it.is_control()).collect(),
        Some(Value::Array(values)) => {
            let values: Vec<String> = values.iter().map(|value| word(Some(value))).collect();
            values.join(",")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(lines: &str) -> Vec<Object> {
        let parse = |line| serde_json::from_str(line).unwrap();
        lines.lines().map(parse).collect()
    }

    #[test]
    fn columns_stand_below_their_titles_and_what_is_unknown_is_a_dash() {
        let told = objects(
            r#"{"kind":"rpc","id":"18446744073709551614","state":"asking","peer":"[::1]:9","age_us":5,"sent":100,"send_granted":100,"send_bytes":100}"#,
        );
        let expected = "                   RPC  state    peer age µs sent granted  of received of\n  \
                        18446744073709551614 asking [::1]:9      5  100     100 100        -  -\n";
        assert_eq!(show(&told, false), expected);
    }

    #[test]
    fn counters_are_shown_if_asked_for_and_orders_to_terminals_never() {
        let told = objects("{\"kind\":\"counters\",\"packets_sent\":7}");
        assert_eq!(show(&told, false), "");
        assert!(show(&told, true).contains("7 packets_sent"));
        assert_eq!(word(Some(&Value::from("a\u{1b}[2Jb"))), "a[2Jb");
    }
}
