//! One JSON object on a line. It decides how numbers and texts are written, not which.

use core::fmt::Write as _;

/// An object under way.
pub(super) struct Line(String);

impl Line {
    /// An object of that kind.
    pub(super) fn new(kind: &str) -> Self {
        let mut line = Self(String::from("{"));
        line.text("kind", kind);
        line
    }

    pub(super) fn number(&mut self, name: &str, value: impl Into<u64>) {
        self.name(name);
        // A String takes all that is written.
        let _ = write!(self.0, "{}", value.into());
    }

    /// Nothing, if there is none.
    pub(super) fn maybe(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    pub(super) fn numbers(&mut self, name: &str, values: &[u32]) {
        self.name(name);
        let _ = write!(self.0, "{values:?}");
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        let _ = write!(self.0, "{value}");
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        for character in value.chars() {
            match character {
                '"' | '\\' => self.0.extend(['\\', character]),
                control if control < ' ' => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.push(other),
            }
        }
        self.0.push('"');
    }

    /// The whole line.
    pub(super) fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_on_one_line_whatever_its_texts_hold() {
        let mut line = Line::new("peer");
        line.text("name", "a\"b\\c\nd");
        line.number("count", 7_u32);
        line.maybe("unknown", None);
        line.maybe("known", Some(u64::MAX));
        line.numbers("cutoffs", &[1, 2]);
        line.flag("stalled", true);
        let expected = concat!(
            r#"{"kind":"peer","name":"a\"b\\c\u000ad","count":7,"#,
            r#""known":18446744073709551615,"cutoffs":[1, 2],"stalled":true}"#,
            "\n"
        );
        assert_eq!(line.end(), expected);
    }
}
