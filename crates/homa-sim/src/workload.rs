//! Message-size distributions: W1–W5, and files of the same form.
//!
//! A file has the header `size_bytes,cumulative_fraction`, then rows with rising sizes and rising
//! fractions, the last of which is 1. Nothing is interpolated: every message has the size of a row.

use core::fmt;
use std::fs;
use std::path::Path;

use crate::random::Random;

const HEADER: &str = "size_bytes,cumulative_fraction";

/// Rows in one file: far more than any published distribution has, and few enough to hold.
const ROWS_MAX_COUNT: usize = 100_000;

/// How far from 1 the last fraction may be: the rounding of a file with six decimals.
const LAST_FRACTION_SLACK: f64 = 1e-6;

const BUILT_IN: [(&str, &str); 5] = [
    ("w1", include_str!("../workloads/w1.csv")),
    ("w2", include_str!("../workloads/w2.csv")),
    ("w3", include_str!("../workloads/w3.csv")),
    ("w4", include_str!("../workloads/w4.csv")),
    ("w5", include_str!("../workloads/w5.csv")),
];

/// A distribution of message sizes.
#[derive(Clone, Debug)]
pub struct Workload {
    name: String,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    /// Bytes.
    size: usize,
    /// Share of the messages that are no longer than `size`.
    cumulative_fraction: f64,
}

/// Why a text is no workload, with the line (from 1) that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWorkload {
    line: usize,
    problem: String,
}

impl fmt::Display for BadWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl core::error::Error for BadWorkload {}

impl Workload {
    /// The workload called `word` (`w1` to `w5`), else the one in the file of that name.
    ///
    /// # Errors
    /// One line that says what is wrong with the name or the file.
    pub fn named(word: &str) -> Result<Self, String> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == word) {
            return Self::parse(name, text).map_err(|bad| format!("{word}: {bad}"));
        }
        let path = Path::new(word);
        if path.extension().is_none_or(|extension| extension != "csv") {
            return Err(format!(
                "'{word}' is neither one of w1 to w5 nor a .csv file"
            ));
        }
        let text = fs::read_to_string(path).map_err(|error| format!("{word}: {error}"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).map_err(|bad| format!("{word}: {bad}"))
    }

    /// Reads a distribution from its text.
    ///
    /// # Errors
    /// The first line that breaks the form.
    pub fn parse(name: &str, text: &str) -> Result<Self, BadWorkload> {
        let mut lines = text.lines().map(str::trim_end).zip(1..);
        if lines.next().is_none_or(|(header, _)| header != HEADER) {
            return Err(bad(1, format!("the first line must be '{HEADER}'")));
        }
        let (mut rows, mut previous, mut last_line) = (Vec::new(), (0, 0.0), 1);
        for (text, line) in lines.filter(|(text, _)| !text.is_empty()) {
            if rows.len() == ROWS_MAX_COUNT {
                return Err(bad(line, format!("more than {ROWS_MAX_COUNT} rows")));
            }
            let (size, fraction) = parse_row(text, previous).map_err(|why| bad(line, why))?;
            rows.push(Row {
                size,
                cumulative_fraction: fraction,
            });
            (previous, last_line) = ((size, fraction), line);
        }
        let Some(last) = rows.last_mut() else {
            return Err(bad(last_line, "there is no row below the header".into()));
        };
        if (last.cumulative_fraction - 1.0).abs() > LAST_FRACTION_SLACK {
            let found = last.cumulative_fraction;
            return Err(bad(
                last_line,
                format!("the last fraction must be 1, not {found}"),
            ));
        }
        last.cumulative_fraction = 1.0;
        Ok(Self {
            name: name.to_owned(),
            rows,
        })
    }

    /// The same with messages above `longest` bytes cut to that.
    #[must_use]
    pub fn cut_at(mut self, longest: usize) -> Self {
        for row in &mut self.rows {
            row.size = row.size.min(longest);
        }
        self
    }

    /// How reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Draws the size of one message, in bytes.
    pub fn sample(&self, random: &mut Random) -> usize {
        self.quantile(random.fraction())
    }

    /// The smallest size, in bytes, that at least `fraction` (0 to 1) of the messages do not pass.
    pub fn quantile(&self, fraction: f64) -> usize {
        let index = self
            .rows
            .partition_point(|row| row.cumulative_fraction < fraction);
        self.rows[index.min(self.rows.len() - 1)].size
    }

    /// The sizes that there are, in bytes, shortest first, each with its share of the messages.
    pub fn rows(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let below = [0.0].into_iter();
        let below = below.chain(self.rows.iter().map(|row| row.cumulative_fraction));
        let shares = self.rows.iter().zip(below);
        shares.map(|(row, below)| (row.size, row.cumulative_fraction - below))
    }

    /// Mean size in bytes.
    pub fn mean_bytes(&self) -> f64 {
        self.rows().map(|(size, share)| size as f64 * share).sum()
    }

    /// The shortest message, in bytes.
    pub fn size_min(&self) -> usize {
        self.rows.first().map_or(1, |row| row.size)
    }

    /// The longest message, in bytes.
    pub fn size_max(&self) -> usize {
        self.rows.last().map_or(1, |row| row.size)
    }
}

fn bad(line: usize, problem: String) -> BadWorkload {
    BadWorkload { line, problem }
}

fn parse_row(text: &str, (size_before, below): (usize, f64)) -> Result<(usize, f64), String> {
    let Some((size, fraction)) = text.split_once(',') else {
        return Err(format!("'{text}' is not size,fraction"));
    };
    let size: usize = match size.trim().parse() {
        Ok(0) | Err(_) => return Err(format!("'{size}' is not a size in bytes, from 1 up")),
        Ok(size) => size,
    };
    let fraction = match fraction.trim().parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 + LAST_FRACTION_SLACK => value,
        _ => {
            return Err(format!(
                "'{fraction}' is not a fraction above 0 and up to 1"
            ));
        }
    };
    if size <= size_before {
        return Err(format!("size {size} does not rise above {size_before}"));
    }
    if fraction <= below {
        return Err(format!("fraction {fraction} does not rise above {below}"));
    }
    Ok((size, fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference runs them, with its limit.
    fn built_in(name: &str) -> Workload {
        Workload::named(name).unwrap().cut_at(1_000_000)
    }

    fn refused(text: &str) -> String {
        Workload::parse("test", text).unwrap_err().to_string()
    }

    #[test]
    fn the_means_are_the_published_ones() {
        let means = [
            ("w1", 189.2),
            ("w2", 433.3),
            ("w3", 2_423.1),
            ("w4", 60_175.1),
            ("w5", 385_315.5),
        ];
        for (name, published) in means {
            let mean = built_in(name).mean_bytes();
            assert!(
                (mean - published).abs() < published * 0.001,
                "{name}: {mean}"
            );
        }
    }

    #[test]
    fn the_percentiles_are_the_published_ones() {
        let percentiles = [
            ("w1", [27, 503, 1_876, 4_924]),
            ("w2", [269, 512, 3_151, 21_845]),
            ("w3", [268, 1_755, 31_013, 356_516]),
            ("w4", [662, 120_373, 1_000_000, 1_000_000]),
            ("w5", [72_030, 1_000_000, 1_000_000, 1_000_000]),
        ];
        for (name, published) in percentiles {
            let workload = built_in(name);
            let found = [0.5, 0.9, 0.99, 0.999].map(|fraction| workload.quantile(fraction));
            assert_eq!(found, published, "{name}");
        }
    }

    #[test]
    fn the_longest_messages_are_cut_to_the_limit() {
        let longest = ["w1", "w2", "w3", "w4", "w5"].map(|name| built_in(name).size_max());
        assert_eq!(
            longest,
            [100_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000]
        );
        assert_eq!(built_in("w4").size_min(), 53);
        assert_eq!(Workload::named("w5").unwrap().size_max(), 29_400_000);
    }

    #[test]
    fn samples_follow_the_distribution() {
        let workload = built_in("w4");
        let mut random = Random::new(3, 0);
        let sizes: Vec<usize> = (0..100_000).map(|_| workload.sample(&mut random)).collect();
        let mean = sizes.iter().sum::<usize>() as f64 / sizes.len() as f64;
        assert!(
            (mean / workload.mean_bytes() - 1.0).abs() < 0.03,
            "mean {mean}"
        );
        let shares = [
            (1_000, 0.604),
            (10_000, 0.710),
            (40_000, 0.740),
            (100_000, 0.887),
        ];
        for (limit, published) in shares {
            let below = sizes.iter().filter(|size| **size <= limit).count();
            let share = below as f64 / sizes.len() as f64;
            assert!((share - published).abs() < 0.01, "{limit}: {share}");
        }
    }

    #[test]
    fn a_fraction_picks_the_first_row_that_reaches_it() {
        let text = "size_bytes,cumulative_fraction\n10,0.25\n20,0.75\n30,1\n";
        let workload = Workload::parse("three", text).unwrap();
        let found = [0.001, 0.25, 0.2501, 0.75, 0.76, 1.0].map(|at| workload.quantile(at));
        assert_eq!(found, [10, 10, 20, 20, 30, 30]);
        assert_eq!(workload.mean_bytes(), 20.0);
    }

    #[test]
    fn a_text_that_is_no_workload_is_refused_with_its_line() {
        let header = HEADER;
        assert_eq!(
            refused(""),
            format!("line 1: the first line must be '{header}'")
        );
        assert_eq!(refused(header), "line 1: there is no row below the header");
        let cases = [
            ("10", "line 2: '10' is not size,fraction"),
            ("x,1", "line 2: 'x' is not a size in bytes, from 1 up"),
            ("0,1", "line 2: '0' is not a size in bytes, from 1 up"),
            (
                "10,nan",
                "line 2: 'nan' is not a fraction above 0 and up to 1",
            ),
            (
                "10,1.5",
                "line 2: '1.5' is not a fraction above 0 and up to 1",
            ),
            ("10,0.5\n\n10,1", "line 4: size 10 does not rise above 10"),
            (
                "10,0.5\n20,0.5",
                "line 3: fraction 0.5 does not rise above 0.5",
            ),
            (
                "10,0.5\n20,0.9",
                "line 3: the last fraction must be 1, not 0.9",
            ),
        ];
        for (rows, expected) in cases {
            assert_eq!(refused(&format!("{header}\n{rows}\n")), expected);
        }
    }

    #[test]
    fn a_name_that_is_no_workload_is_refused() {
        let why = Workload::named("w6").unwrap_err();
        assert_eq!(why, "'w6' is neither one of w1 to w5 nor a .csv file");
        assert!(
            Workload::named("/nowhere/x.csv")
                .unwrap_err()
                .starts_with("/nowhere/x.csv: ")
        );
    }
}
