//! The commands in the documents: those of the tour and the README's first ones are run, in their
//! order, as a newcomer types them; all others, some of which take hours, must be understood.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const HOMA: &str = env!("CARGO_BIN_EXE_homa");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Where the documents' servers listen.
const ADDRESS: &str = "127.0.0.1:4000";

/// Documents whose sentences give commands, too.
const USERS: [&str; 3] = ["README.md", "tour.md", "migrating-from-homamodule.md"];

/// How documents call the command.
const NAMES: [&str; 3] = ["homa ", "target/release/homa ", "cargo run --release -- "];

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

/// The lines of all blocks of shell commands, without what is said about them.
fn commands(document: &str) -> Vec<String> {
    let blocks = ["```sh\n", "```console\n"].map(|fence| document.split(fence).skip(1));
    let lines = blocks
        .into_iter()
        .flatten()
        .flat_map(|block| block.split("```").next().unwrap().lines());
    lines
        .map(|line| line.split(" #").next().unwrap().trim())
        .map(|line| line.strip_prefix("$ ").unwrap_or(line).to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// All documents of the project.
fn documents() -> Vec<PathBuf> {
    let listed = fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let documents = listed.map(|entry| entry.unwrap().path());
    let documents = documents.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let more = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"];
    let more = more.map(|name| Path::new(ROOT).join(name));
    documents.chain(more).collect()
}

/// An address at which nobody listens.
fn free_address() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

fn shell(line: &str, directory: &Path) -> Command {
    let homa = Path::new(HOMA).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", homa.display()))
        .current_dir(directory);
    command
}

/// Ends what runs in the background, however the test ends.
struct Background(Vec<Child>);

impl Background {
    /// Starts a server, and waits until it listens.
    fn serve(&mut self, line: &str, directory: &Path) {
        // In place of the shell, so that it can be ended.
        let mut command = shell(&format!("exec {line}"), directory);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        self.0.push(child);
        output.read_line(&mut said).unwrap();
        assert!(said.starts_with("listening on"), "{line}: {said}");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn succeed(line: &str, directory: &Path) {
    let output = shell(line, directory).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
}

#[test]
fn every_command_of_the_tour_works() {
    let (directory, address) = (tempfile::tempdir().unwrap(), free_address());
    let mut background = Background(Vec::new());
    for line in commands(&read("docs/tour.md")) {
        let typed = line.replace(ADDRESS, &address);
        match typed.strip_suffix('&') {
            Some(served) => background.serve(served, directory.path()),
            None => succeed(&typed, directory.path()),
        }
    }
    assert!(!background.0.is_empty(), "the tour starts a server");
}

#[test]
fn the_dissector_is_installed_as_documents_say() {
    for document in ["README.md", "docs/tour.md"] {
        let (text, home) = (read(document), tempfile::tempdir().unwrap());
        let line = quoted(&text)
            .find(|it| it.starts_with("install -D"))
            .unwrap();
        let status = shell(line, Path::new(ROOT))
            .env("HOME", home.path())
            .status();
        assert!(status.unwrap().success(), "{document}: {line}");
        let plugin = home.path().join(".local/lib/wireshark/plugins/homa.lua");
        assert!(fs::read_to_string(plugin).unwrap() == read("wireshark/homa.lua"));
    }
}

#[test]
fn the_readme_serves_a_file_and_shows_it() {
    let address = free_address();
    let mut background = Background(Vec::new());
    let lines = commands(&read("README.md"));
    let first = |begin: &str| {
        let line = lines.iter().find(|line| line.starts_with(begin)).unwrap();
        line.replace(ADDRESS, &address)
    };
    background.serve(&first("homa serve"), Path::new(ROOT));
    succeed(&first("homa call"), Path::new(ROOT));
    succeed(&first("homa ss"), Path::new(ROOT));
}

#[test]
fn every_command_of_every_document_is_understood() {
    let mut understood = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let blocks = commands(&text);
        let sentences = text.split("```").step_by(2).flat_map(quoted);
        // Words in capitals stand for others there, and lines end anywhere.
        let stands_for_others = |it: char| it.is_ascii_uppercase() || "|;&<>$…".contains(it);
        let literal = sentences.filter(|it| !it.contains(stands_for_others));
        // Others speak of commands more than they give them.
        let is_for_users = USERS.iter().any(|name| path.ends_with(name));
        let literal = literal.filter(|_| is_for_users);
        let inline = literal.map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
        for line in blocks.into_iter().chain(inline) {
            let line = line
                .trim_end_matches('&')
                .trim_start_matches("HOMA_CAPTURE=call.pcapng ");
            let Some(words) = NAMES.iter().find_map(|name| line.strip_prefix(name)) else {
                continue;
            };
            // All words are read, bad ones refused, and nothing is done.
            let mut command = shell(&format!("homa {words} --help"), Path::new(ROOT));
            let output = command.output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}: {line}: {errors}",
                path.display()
            );
            understood += 1;
        }
    }
    assert!(understood > 40, "{understood}");
}

#[test]
fn every_task_that_documents_name_is_there() {
    let tasks = read("xtask/src/main.rs");
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for named in text.split("cargo xtask ").skip(1) {
            let end = named.find(|it: char| it != '-' && !it.is_ascii_alphabetic());
            let name = &named[..end.unwrap_or(named.len())];
            assert!(
                tasks.contains(&format!("\"{name}\"")),
                "{}: {name}",
                path.display()
            );
        }
    }
}

/// The names of all tests of the project.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut directories = ["crates", "kernel", "xtask"]
        .map(|it| Path::new(ROOT).join(it))
        .to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|it| it != "target") {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                // What stands between the attribute and the name: other attributes, `async`.
                let marked = code.split("test]\n").chain(code.split("\")]\n")).skip(1);
                let named = marked.filter_map(|rest| rest.split("fn ").nth(1));
                names.extend(named.filter_map(|it| Some(it.split_once('(')?.0.to_owned())));
            }
        }
    }
    names
}

/// The rows of all tables of a document that have so many cells.
fn rows(document: &str, cells: usize) -> Vec<Vec<String>> {
    let lines = document.lines().filter(|it| it.starts_with("| "));
    let rows = lines.map(|line| {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().to_owned()).collect()
    });
    rows.filter(|row: &Vec<String>| row.len() == cells)
        .collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_seed_notes_and_the_threat_model_name_is_there() {
    let tests = tests();
    let seed = rows(&read("docs/seed.md"), 4);
    let seed: Vec<_> = seed.iter().filter(|row| row[0] != "point").collect();
    assert_eq!(seed.len(), 43);
    let numbers: BTreeSet<_> = seed
        .iter()
        .map(|row| row[0].split(' ').next().unwrap())
        .collect();
    assert_eq!(numbers.len(), 43, "each point has one row");
    for row in seed {
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        assert!(quoted(&row[3]).count() > 0, "{row:?}");
        for name in quoted(&row[3]) {
            assert!(
                name.len() >= 12 && tests.contains(name),
                "{}: {name}",
                row[0]
            );
        }
    }
    let claims = rows(&read("docs/threat-model.md"), 3);
    assert!(claims.len() > 20);
    for name in claims.iter().flat_map(|row| quoted(&row[2])) {
        assert!(tests.contains(name), "{name}");
    }
}
