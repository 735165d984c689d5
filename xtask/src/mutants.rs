//! How well the tests hold the engine: `cargo xtask mutants`.
//!
//! `cargo mutants` says how the engine could be broken by a small change of its source. A sample of
//! these mutants is built and tested one by one: first by the engine's own tests, and what they let
//! live by a short swarm. What survives both is a behaviour that nobody checks, or code that does
//! nothing; docs/mutants.md has the list.
//!
//! *Design.* `cargo mutants` could run the tests too. It does not here, for three reasons: it runs a
//! whole test binary where the first test that fails is enough; its time limit is by the clock,
//! which on a busy machine takes slow for endless; and it tests the tree as it lies there, while a
//! score is worth something only together with a commit.

mod deck;
mod report;
mod tree;
mod trial;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use deck::Mutant;
use report::Report;
use tree::Tree;
use trial::{Trial, Verdict};

use crate::needs::Need;
use crate::{paths, wrong_usage};

pub(crate) const USAGE: &str = "type: cargo xtask mutants [--sample COUNT] [--seed SEED] \
                                [--shard I/N] [--name TEXT]... [--commit COMMIT] \
                                [--json FILE]";

const CARGO_MUTANTS: Need = Need::Cargo {
    subcommand: &["mutants"],
    install: "cargo install cargo-mutants",
};

struct Options {
    /// How many mutants that compile are to be judged, over all shards.
    sample: usize,
    /// Decides which ones.
    seed: u64,
    /// This run's part of the sample, `1..=count`, and the number of parts.
    shard: (usize, usize),
    /// Instead of a sample, all mutants whose name contains one of these.
    names: Vec<String>,
    /// What is measured.
    commit: String,
    json: Option<PathBuf>,
}

/// Judges a sample. Fails if less than nine of ten were killed.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(problem) => return wrong_usage(&problem, USAGE),
    };
    let report = match CARGO_MUTANTS.meet().and_then(|()| run(&options)) {
        Ok(report) => report,
        Err(why) => {
            eprintln!("xtask: {why}");
            return ExitCode::FAILURE;
        }
    };
    report.print();
    if let Some(file) = &options.json
        && let Err(error) = fs::write(file, report.json())
    {
        eprintln!("xtask: {} was not written: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            sample: 400,
            seed: 1,
            shard: (1, 1),
            names: Vec::new(),
            commit: "HEAD".to_owned(),
            json: None,
        };
        for pair in arguments.chunks(2) {
            let [flag, value] = pair else {
                return Err(format!("{} needs a value", pair[0]));
            };
            let bad = || format!("{flag} cannot be {value}");
            match &**flag {
                "--sample" => options.sample = value.parse().map_err(|_| bad())?,
                "--seed" => options.seed = value.parse().map_err(|_| bad())?,
                "--shard" => options.shard = parse_shard(value).ok_or_else(bad)?,
                "--name" => options.names.push(value.clone()),
                "--commit" => options.commit.clone_from(value),
                "--json" => options.json = Some(PathBuf::from(value)),
                _ => return Err(format!("mutants does not know {flag}")),
            }
        }
        Ok(options)
    }
}

fn parse_shard(text: &str) -> Option<(usize, usize)> {
    let (index, count) = text.split_once('/')?;
    let shard = (index.parse().ok()?, count.parse().ok()?);
    (1..=shard.1).contains(&shard.0).then_some(shard)
}

fn run(options: &Options) -> Result<Report, String> {
    let (index, count) = options.shard;
    let tree = Tree::check_out(&options.commit, &format!("{index}-of-{count}"))?;
    let mut deck = deck::shuffle(tree.mutants()?, options.seed);
    let names = &options.names;
    if !names.is_empty() {
        deck.retain(|mutant| names.iter().any(|text| mutant.name.contains(text)));
    }
    let deck: Vec<Mutant> = deck.into_iter().skip(index - 1).step_by(count).collect();
    let wanted = match names.is_empty() {
        true => options.sample.div_ceil(count).min(deck.len()),
        false => deck.len(),
    };
    println!("commit {}: {wanted} mutants to judge", tree.commit);

    let mut memory = Memory::open(&tree.commit)?;
    if memory.trials.is_empty() {
        require_that_unchanged_code_passes(&tree)?;
    }
    let mut report = Report::new(&tree.commit, options.seed, options.shard);
    let started = Instant::now();
    let mut tried_count = 0_u32;
    for mutant in deck {
        if report.viable_count() == wanted {
            break;
        }
        let known = memory.trials.remove(&mutant.name);
        let trial = match known {
            Some(trial) => trial,
            None => {
                tried_count += 1;
                let trial = tree.with(&mutant, |tree| trial::judge(tree, Some(&mutant.file)))?;
                memory.keep(&mutant, &trial)?;
                tell(&report, wanted, &mutant, &trial, started, tried_count);
                trial
            }
        };
        report.add(mutant, trial);
    }
    Ok(report)
}

fn require_that_unchanged_code_passes(tree: &Tree) -> Result<(), String> {
    println!("building, and testing the unchanged code");
    let trial = trial::judge(tree, None)?;
    if trial.verdict == Verdict::Survived {
        return Ok(());
    }
    Err(format!(
        "the tests fail on the unchanged code of {} ({}); make `cargo test` pass and commit",
        tree.commit, trial.by
    ))
}

fn tell(
    report: &Report,
    wanted: usize,
    mutant: &Mutant,
    trial: &Trial,
    started: Instant,
    tried: u32,
) {
    let done = report.viable_count();
    let each = started.elapsed() / tried;
    let left = each * u32::try_from(wanted - done).unwrap_or(u32::MAX);
    println!(
        "{done:4}/{wanted}, {:3} min left  {:11} {}",
        left.as_secs().div_ceil(60),
        trial.verdict.word(),
        mutant.name
    );
}

/// What is known of the mutants of a commit, so that a run that was broken off goes on where it
/// was, and a run without `--shard` after those with it has little left to do.
struct Memory {
    trials: HashMap<String, Trial>,
    file: File,
}

impl Memory {
    fn open(commit: &str) -> Result<Self, String> {
        let path = paths::mutants().join(format!("{commit}.tsv"));
        let known = fs::read_to_string(&path).unwrap_or_default();
        let trials = known.lines().filter_map(|line| {
            let mut columns = line.splitn(3, '\t');
            let verdict = Verdict::named(columns.next()?)?;
            let by = columns.next()?.to_owned();
            Some((columns.next()?.to_owned(), Trial { verdict, by }))
        });
        let trials = trials.collect();
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { trials, file })
    }

    fn keep(&mut self, mutant: &Mutant, trial: &Trial) -> Result<(), String> {
        let line = format!("{}\t{}\t{}\n", trial.verdict.word(), trial.by, mutant.name);
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| format!("a verdict was not kept: {error}"))
    }
}
