//! What a step may need beyond Rust itself, how to find out whether it is there, and what to tell
//! the reader when it is not.

use std::env;
use std::process::{Command, Stdio};

/// Something that a machine may lack.
pub(crate) enum Need {
    /// A subcommand of cargo, with what installs it.
    Cargo {
        subcommand: &'static [&'static str],
        install: &'static str,
    },
    /// A program from a Debian package.
    Program {
        program: &'static str,
        package: &'static str,
    },
    /// Debian packages, whatever they bring.
    Packages(&'static [&'static str]),
    /// The right to make network namespaces, which root has, except in most containers.
    Namespaces,
}

impl Need {
    /// Finds the thing, or says why the step has to be left out.
    ///
    /// A Debian package is installed where CI says that the machine is for the taking, and nowhere
    /// else: a test has no business changing somebody's system.
    pub(crate) fn meet(&self) -> Result<(), String> {
        match self {
            Self::Cargo {
                subcommand,
                install,
            } => {
                if answers(Command::new("cargo").args(*subcommand).arg("--version")) {
                    return Ok(());
                }
                let name = subcommand.join(" ");
                Err(format!("cargo {name} is missing; `{install}` adds it"))
            }
            Self::Program { program, package } => {
                if is_installed(program) || (env::var_os("CI").is_some() && install(&[*package])) {
                    return Ok(());
                }
                Err(format!(
                    "{program} is missing; `apt-get install {package}` adds it"
                ))
            }
            Self::Packages(packages) => {
                let missing: Vec<&str> = packages
                    .iter()
                    .copied()
                    .filter(|package| !is_package_installed(package))
                    .collect();
                if missing.is_empty() || (env::var_os("CI").is_some() && install(&missing)) {
                    return Ok(());
                }
                let missing = missing.join(" ");
                Err(format!(
                    "packages are missing; `apt-get install --no-install-recommends {missing}` adds \
                     them"
                ))
            }
            Self::Namespaces => {
                if answers(Command::new("unshare").args(["--net", "true"])) {
                    return Ok(());
                }
                Err(
                    "no network namespaces may be made here; it takes root, outside of most \
                     containers"
                        .to_owned(),
                )
            }
        }
    }
}

/// Whether a command starts and succeeds; its output is of no interest.
fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn is_package_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn install(packages: &[&str]) -> bool {
    println!("   $ apt-get install {}", packages.join(" "));
    answers(Command::new("apt-get").arg("update"))
        && answers(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--no-install-recommends"])
                .args(packages),
        )
}
