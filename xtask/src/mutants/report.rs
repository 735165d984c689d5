//! The score: a table by file and verdict, the survivors, and the same as JSON.

use core::fmt::Write;
use std::collections::BTreeMap;

use super::deck::Mutant;
use super::trial::{Trial, Verdict};

/// Percent of the viable mutants that have to be killed.
const GOAL_PERCENT: usize = 90;

/// The verdicts on a sample.
pub(crate) struct Report {
    commit: String,
    seed: u64,
    shard: (usize, usize),
    judged: Vec<(Mutant, Trial)>,
}

impl Report {
    pub(crate) fn new(commit: &str, seed: u64, shard: (usize, usize)) -> Self {
        Self {
            commit: commit.to_owned(),
            seed,
            shard,
            judged: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, mutant: Mutant, trial: Trial) {
        self.judged.push((mutant, trial));
    }

    /// Mutants that compile: the others say nothing about the tests.
    pub(crate) fn viable_count(&self) -> usize {
        self.judged.len() - self.count(Verdict::Unviable)
    }

    /// Whether enough were killed.
    pub(crate) fn is_good(&self) -> bool {
        self.killed_count() * 100 >= self.viable_count() * GOAL_PERCENT
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.table());
        let survivors = self.with(Verdict::Survived);
        for (mutant, _) in survivors {
            println!("survived: {}", mutant.name);
        }
        let (killed, viable) = (self.killed_count(), self.viable_count());
        println!(
            "commit {}, seed {}, shard {}/{}: {killed} of {viable} killed, {:.1} %; {} did not compile",
            self.commit,
            self.seed,
            self.shard.0,
            self.shard.1,
            100.0 * killed as f64 / viable.max(1) as f64,
            self.count(Verdict::Unviable),
        );
    }

    pub(crate) fn json(&self) -> String {
        let mut text = format!(
            "{{\n  \"commit\": {},\n  \"seed\": {},\n  \"shard\": \"{}/{}\",\n",
            quoted(&self.commit),
            self.seed,
            self.shard.0,
            self.shard.1
        );
        for verdict in Verdict::ALL {
            let word = quoted(&verdict.word().to_lowercase());
            let _ = writeln!(text, "  {word}: {},", self.count(verdict));
        }
        let mutants: Vec<String> = self
            .judged
            .iter()
            .map(|(mutant, trial)| {
                let verdict = trial.verdict.word().to_lowercase();
                format!(
                    "    {{\"name\": {}, \"verdict\": {}, \"by\": {}}}",
                    quoted(&mutant.name),
                    quoted(&verdict),
                    quoted(&trial.by)
                )
            })
            .collect();
        let _ = writeln!(text, "  \"mutants\": [\n{}\n  ]\n}}", mutants.join(",\n"));
        text
    }

    fn table(&self) -> String {
        let mut files: BTreeMap<&str, [usize; Verdict::ALL.len()]> = BTreeMap::new();
        for (mutant, trial) in &self.judged {
            let row = files.entry(&mutant.file).or_default();
            row[trial.verdict as usize] += 1;
        }
        let mut text = format!("{:40}", "file");
        for verdict in Verdict::ALL {
            let _ = write!(text, "{:>9}", verdict.word().to_lowercase());
        }
        let all = Verdict::ALL.map(|verdict| self.count(verdict));
        for (file, row) in files.into_iter().chain([("all", all)]) {
            let _ = write!(text, "\n{file:40}");
            for count in row {
                let _ = write!(text, "{count:9}");
            }
        }
        text
    }

    fn with(&self, verdict: Verdict) -> impl Iterator<Item = &(Mutant, Trial)> {
        let judged = self.judged.iter();
        judged.filter(move |(_, trial)| trial.verdict == verdict)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.with(verdict).count()
    }

    fn killed_count(&self) -> usize {
        self.viable_count() - self.count(Verdict::Survived)
    }
}

/// A string as JSON writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '.. => quoted.push(letter),
            _ => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
        }
    }
    quoted.push('"');
    quoted
}
