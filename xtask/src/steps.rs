//! The table of steps: what each one checks, needs and runs.

use core::fmt;
use std::process::Command;

use crate::needs::Need;
use crate::{kernel, metrics, namespaces, paths, wireshark};

/// One thing to check.
pub(crate) struct Step {
    /// How to ask for it: `cargo xtask test NAME`.
    pub(crate) name: &'static str,
    /// What passing means.
    pub(crate) checks: &'static str,
    /// Without one of these the step is left out.
    pub(crate) needs: &'static [Need],
    /// Run in order; the first that fails ends the step.
    pub(crate) work: &'static [Work],
}

/// A part of a step.
pub(crate) enum Work {
    /// A command that has to succeed.
    Command(Line),
    /// What needs more than commands in a row, with its description.
    Function(&'static str, fn() -> Result<(), String>),
}

/// A command line, its words separated by single spaces, with what it adds to the environment.
pub(crate) struct Line {
    environment: &'static [(&'static str, &'static str)],
    words: &'static str,
}

/// Cheap steps first, so that a slip is told within seconds.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        checks: "the code is formatted",
        needs: &[Need::Cargo {
            subcommand: &["fmt"],
            install: "rustup component add rustfmt",
        }],
        work: &[line("cargo fmt --all --check")],
    },
    Step {
        name: "clippy",
        checks: "no lint fires, tests included",
        needs: &[Need::Cargo {
            subcommand: &["clippy"],
            install: "rustup component add clippy",
        }],
        work: &[line(
            "cargo clippy --workspace --all-targets --features homa-cli/rivals --quiet -- -D warnings",
        )],
    },
    Step {
        name: "doc",
        checks: "the documentation builds without a warning",
        needs: &[],
        work: &[Work::Command(Line {
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
            words: "cargo doc --workspace --no-deps --quiet",
        })],
    },
    Step {
        name: "test",
        checks: "unit, integration and documentation tests",
        needs: &[],
        work: &[line(
            "cargo test --workspace --features homa-cli/rivals --quiet --no-fail-fast",
        )],
    },
    Step {
        name: "model",
        checks: "threads that meet in the library lose no wake-up, whatever the schedule (1,000 of each \
                 scenario, under a model checker)",
        needs: &[],
        work: &[Work::Command(Line {
            environment: &[
                ("CARGO_TARGET_DIR", "target/model"),
                ("RUSTFLAGS", "--cfg homa_model"),
            ],
            words: "cargo test --package homa-rpc --lib --quiet model::",
        })],
    },
    Step {
        name: "games",
        checks: "engines survive random packets and games by the million (optimised, so that many fit)",
        needs: &[],
        work: &[line(
            "cargo test --release --quiet --package homa-proto --test pair properties",
        )],
    },
    Step {
        name: "swarm",
        checks: "1,000 random networks break no law and reach all that the engine can do, and every \
                 planted bug is caught",
        needs: &[],
        work: &[
            BUILD_RELEASE,
            line("homa sim swarm --seeds 1000 --cover 10"),
            line("homa sim swarm --seeds 500 --plant all"),
        ],
    },
    Step {
        name: "smoke",
        checks: "the optimised command does its main jobs, in short",
        needs: &[],
        work: &[
            BUILD_RELEASE,
            line("homa demo --seconds 2"),
            line("homa bench rtt --rounds 1 --seconds 0.05 --allow-dirty"),
            line("homa bench bulk --rounds 1 --seconds 0.05 --allow-dirty"),
            line("homa bench rate --rounds 1 --seconds 0.05 --allow-dirty"),
            line("homa bench mix --rounds 1 --seconds 0.05 --allow-dirty"),
            line("homa bench engine --rounds 1"),
            line("homa bench overload --seconds 3 --least 0.6"),
        ],
    },
    Step {
        name: "guard",
        checks: "an RPC takes the engine no more instructions than usual, 5 % granted",
        needs: &[Need::Program {
            program: "valgrind",
            package: "valgrind",
        }],
        work: &[BUILD_RELEASE, line("homa bench engine --guard")],
    },
    Step {
        name: "namespaces",
        checks: "messages cross a network over every link, with small and large MTU, IPv4 and IPv6, with \
                 losses",
        needs: &[
            Need::Namespaces,
            Need::Program {
                program: "ip",
                package: "iproute2",
            },
        ],
        work: &[
            BUILD_RELEASE,
            Work::Function(
                "two network namespaces joined by a virtual cable",
                namespaces::check,
            ),
            line("homa bench rtt --over veth --rounds 1 --seconds 0.05 --allow-dirty"),
            line("homa bench bulk --over veth-wire --rounds 1 --seconds 0.05 --allow-dirty"),
        ],
    },
    Step {
        name: "kernel-core",
        checks: "the kernel's engine is formatted, has no lint, and keeps its C interface",
        needs: &[],
        work: &[
            line("cargo fmt --manifest-path kernel/core/Cargo.toml --check"),
            line(
                "cargo clippy --manifest-path kernel/core/Cargo.toml --all-targets --quiet -- -D \
                 warnings",
            ),
            line("cargo test --manifest-path kernel/core/Cargo.toml --quiet"),
        ],
    },
    Step {
        name: "kernel",
        checks: "the kernel module builds for Debian's kernels without a warning and works in them, \
                 booted in an emulated machine",
        needs: kernel::TEST_NEEDS,
        work: &[
            // It talks with the module.
            line("cargo build --package homa-cli --quiet"),
            Work::Function("every stock kernel whose headers are here", kernel::test),
        ],
    },
    Step {
        name: "kernel-lint",
        checks: "the kernel's own judges have nothing against the module's C",
        needs: kernel::LINT_NEEDS,
        work: &[Work::Function(
            "sparse, for every kernel whose headers are here, and checkpatch",
            kernel::lint,
        )],
    },
    Step {
        name: "metrics",
        checks: "the OpenMetrics parser of Prometheus' own library reads what a server tells",
        needs: &[Need::Packages(&["python3-prometheus-client"])],
        work: &[
            BUILD_RELEASE,
            Work::Function("`homa serve --metrics`, after a few calls", metrics::check),
        ],
    },
    Step {
        name: "kernel-package",
        checks: "the engine's object is the same wherever it is built, and the Debian package makes the \
                 module from it without Rust",
        needs: kernel::PACKAGE_NEEDS,
        work: &[Work::Function(
            "homa-dkms, for every kernel whose headers are here",
            kernel::package,
        )],
    },
    Step {
        name: "wireshark",
        checks: "tshark with our dissector and `homa dump` agree on every field of every packet",
        needs: &[Need::Program {
            program: "tshark",
            package: "tshark",
        }],
        work: &[
            BUILD_RELEASE,
            Work::Function(
                "captures of the reference module and of simulated networks",
                wireshark::check,
            ),
        ],
    },
    Step {
        name: "asan",
        checks: "the unsafe code of user space touches no memory but its own (AddressSanitizer)",
        needs: &[Need::Cargo {
            subcommand: &["+nightly"],
            install: "rustup toolchain install nightly",
        }],
        work: &[
            sanitized("cargo +nightly test --package homa-net --lib --tests --quiet"),
            sanitized(
                "cargo +nightly test --package homa-rpc --lib --test calls --test echo --test arriving \
                 --quiet",
            ),
        ],
    },
    Step {
        name: "fuzz",
        checks: "nothing makes codec or engine panic (30 s each, beyond the committed corpus)",
        needs: &[Need::Cargo {
            subcommand: &["+nightly", "fuzz"],
            install: "rustup toolchain install nightly; cargo install cargo-fuzz",
        }],
        work: &[
            // What is found goes here, so that the committed corpus stays as it is.
            line("mkdir -p fuzz/target/found/packet fuzz/target/found/endpoint"),
            line(
                "cargo +nightly fuzz run packet fuzz/target/found/packet fuzz/corpus/packet -- \
                 -max_total_time=30",
            ),
            line(
                "cargo +nightly fuzz run endpoint fuzz/target/found/endpoint \
                 fuzz/corpus/endpoint -- -max_total_time=30",
            ),
        ],
    },
];

pub(crate) const BUILD_RELEASE: Work = line("cargo build --release --package homa-cli --quiet");

/// As the first word of a line, the optimised command, wherever cargo puts it.
const HOMA: &str = "homa";

const fn line(words: &'static str) -> Work {
    Work::Command(Line {
        environment: &[],
        words,
    })
}

/// A command of cargo whose programs watch their own memory. Naming the target keeps build scripts,
/// which run before there is anything to watch, as they are. Memory that is not to be had is refused, as
/// by every other allocator, and does not end the program.
const fn sanitized(words: &'static str) -> Work {
    Work::Command(Line {
        environment: &[
            ("CARGO_BUILD_TARGET", "x86_64-unknown-linux-gnu"),
            ("CARGO_TARGET_DIR", "target/asan"),
            ("RUSTFLAGS", "-Zsanitizer=address"),
            ("ASAN_OPTIONS", "allocator_may_return_null=1"),
        ],
        words,
    })
}

impl Work {
    /// Does it, its output going where ours goes.
    pub(crate) fn run(&self) -> Result<(), String> {
        match self {
            Self::Command(line) => line.run(),
            Self::Function(_, function) => function(),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(line) => write!(f, "$ {line}"),
            Self::Function(description, _) => f.write_str(description),
        }
    }
}

impl Line {
    fn run(&self) -> Result<(), String> {
        let mut words = self.words.split(' ');
        let program = words.next().expect("a split has a first part");
        let mut command = match program {
            HOMA => Command::new(paths::homa()),
            other => Command::new(other),
        };
        let status = command
            .args(words)
            .envs(self.environment.iter().copied())
            .current_dir(paths::ROOT)
            .status()
            .map_err(|error| format!("{program} did not start: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`{self}` ended with {status}"))
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.environment {
            write!(f, "{name}='{value}' ")?;
        }
        f.write_str(self.words)
    }
}
