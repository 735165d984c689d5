//! Pages that need nothing from elsewhere: what the reports of all commands have in common.

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#222;background:#fff}svg{max-width:100%;height:auto}\
    table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
    th,td{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}\
    th:first-child,td:first-child{text-align:left}";

/// A page with that title, which is text, and that body, which is HTML.
pub(crate) fn document(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// Lines of text as one paragraph.
pub(crate) fn paragraph(lines: &[String]) -> String {
    format!("<p>{}</p>\n", escape(&lines.join(" ")))
}

/// Text as it may stand in a page.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(
        String::with_capacity(text.len()),
        |mut escaped, character| {
            match character {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                other => escaped.push(other),
            }
            escaped
        },
    )
}
