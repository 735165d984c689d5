//! What CI and developers run: `cargo xtask test`; the kernel module, `cargo xtask kernel`,
//! `cargo xtask kernel-test`, `kernel-lint` and `kernel-package`; and what takes long, on demand:
//! `cargo xtask kernel-test --bench` or `--soak`, `cargo xtask kernel-debug`, `cargo xtask kernel-uml` and
//! `cargo xtask mutants`.
//!
//! `test` decides which steps this machine allows, runs them all, and ends with what was left out
//! and why. It does not say what a step checks: that stands in the table of `steps.rs`.

mod command;
mod kernel;
mod metrics;
mod mutants;
mod namespaces;
mod needs;
mod paths;
mod steps;
mod wireshark;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use steps::{STEPS, Step};

const USAGE: &str = "type: cargo xtask test [STEP]...   (no step means all of them)";
const KERNEL_TEST_USAGE: &str =
    "type: cargo xtask kernel-test [--bench | --soak MINUTES]   (1 to 600)";
const KERNEL_DEBUG_USAGE: &str = "type: cargo xtask kernel-debug [--seed NUMBER]";
const KERNEL_UML_USAGE: &str = "type: cargo xtask kernel-uml [--bench]";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words = arguments.split_first();
    match words.map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("test", wanted)) => test(wanted),
        Some(("mutants", options)) => mutants::main(options),
        Some(("kernel", [])) => tell(kernel::build()),
        Some(("kernel-debug", [])) => tell(kernel::debug(1)),
        Some(("kernel-debug", [option, seed])) if option == "--seed" => fuzz(seed),
        Some(("kernel-debug", _)) => wrong_usage("kernel-debug takes no step", KERNEL_DEBUG_USAGE),
        Some(("kernel-uml", [])) => tell(kernel::user_mode()),
        Some(("kernel-uml", [option])) if option == "--bench" => tell(
            steps::BUILD_RELEASE
                .run()
                .and_then(|()| kernel::user_mode_bench()),
        ),
        Some(("kernel-uml", _)) => wrong_usage("kernel-uml takes no step", KERNEL_UML_USAGE),
        Some(("kernel-test", [option])) if option == "--bench" => {
            tell(steps::BUILD_RELEASE.run().and_then(|()| kernel::bench()))
        }
        Some(("kernel-lint", [])) => test(&["kernel-lint".to_owned()]),
        Some(("kernel-package", [])) => test(&["kernel-package".to_owned()]),
        Some(("kernel-test", [])) => test(&["kernel".to_owned()]),
        Some(("kernel-test", [option, minutes])) if option == "--soak" => soak(minutes),
        Some(("kernel-test", _)) => wrong_usage("kernel-test takes no step", KERNEL_TEST_USAGE),
        _ => wrong_usage(
            "xtask knows `test`, `mutants`, `kernel`, `kernel-test`, `kernel-lint`, `kernel-package`, \
             `kernel-debug` and `kernel-uml`",
            USAGE,
        ),
    }
}

/// Runs the steps of these names, or all.
fn test(wanted: &[String]) -> ExitCode {
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !STEPS.iter().any(|s| s.name == **name))
    {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        let problem = format!(
            "no step is called {unknown}; there are {}",
            names.join(", ")
        );
        return wrong_usage(&problem, USAGE);
    }
    let chosen = STEPS
        .iter()
        .filter(|s| wanted.is_empty() || wanted.iter().any(|w| w == s.name));
    let mut summary = Summary::default();
    for step in chosen {
        summary.add(step, run(step));
    }
    summary.print();
    if summary.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Minutes of traffic in every kernel.
fn soak(minutes: &str) -> ExitCode {
    match minutes.parse() {
        Ok(minutes @ 1..=600) => tell(kernel::soak(minutes)),
        _ => wrong_usage(
            &format!("{minutes} is no number of minutes"),
            KERNEL_TEST_USAGE,
        ),
    }
}

/// Tests and calls of chance in a kernel that checks what it does.
fn fuzz(seed: &str) -> ExitCode {
    match seed.parse() {
        Ok(seed) => tell(kernel::debug(seed)),
        Err(_) => wrong_usage(&format!("{seed} is no seed"), KERNEL_DEBUG_USAGE),
    }
}

fn tell(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn wrong_usage(problem: &str, usage: &str) -> ExitCode {
    eprintln!("xtask: {problem}; {usage}");
    ExitCode::from(2)
}

/// How a step ended.
enum Outcome {
    Passed,
    Failed(String),
    LeftOut(String),
}

fn run(step: &Step) -> Outcome {
    println!("\n== {}: {}", step.name, step.checks);
    for need in step.needs {
        if let Err(why) = need.meet() {
            println!("   left out: {why}");
            return Outcome::LeftOut(why);
        }
    }
    let started = Instant::now();
    for work in step.work {
        println!("   {work}");
        if let Err(why) = work.run() {
            println!("   failed: {why}");
            return Outcome::Failed(why);
        }
    }
    println!("   passed in {:.0} s", started.elapsed().as_secs_f64());
    Outcome::Passed
}

#[derive(Default)]
struct Summary {
    passed_count: usize,
    failed: Vec<String>,
    left_out: Vec<String>,
}

impl Summary {
    fn add(&mut self, step: &Step, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed_count += 1,
            Outcome::Failed(why) => self.failed.push(format!("{}: {why}", step.name)),
            Outcome::LeftOut(why) => self.left_out.push(format!("{}: {why}", step.name)),
        }
    }

    fn print(&self) {
        println!("\n== Summary");
        for line in &self.failed {
            println!("   failed    {line}");
        }
        for line in &self.left_out {
            println!("   left out  {line}");
        }
        if self.left_out.is_empty() {
            println!("   nothing was left out");
        }
        let (failed, left_out) = (self.failed.len(), self.left_out.len());
        println!(
            "steps: {} passed, {failed} failed, {left_out} skipped",
            self.passed_count
        );
    }
}
