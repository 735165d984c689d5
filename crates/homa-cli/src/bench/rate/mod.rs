//! `homa bench rate`: as many short RPCs as go through, with many under way at once.

mod engines;
mod homa;
mod slots;
mod tcp;
mod tcp_tokio;
mod udp;
mod ways;

#[cfg(feature = "rivals")]
use super::rivals;
use super::sockets::{BBR, CUBIC};
use super::suite::Waiting::{Block, Spin};
use super::suite::{Figure, MILLION_RPCS, Ratio, Suite, Variant};
#[cfg(feature = "rivals")]
use crate::answer::Answer;

pub(super) const SUITE: Suite = Suite {
    name: "rate",
    title: "RPCs of 100 bytes each way, many at once",
    figure: Figure {
        unit: "M RPC/s",
        of: |sample| sample.rpcs as f64 / sample.seconds / 1e6,
        lower_is_better: false,
    },
    work: MILLION_RPCS,
    message_bytes: 100,
    outstanding: 100,
    variants: VARIANTS,
    ratios: RATIOS,
};

const VARIANTS: &[Variant] = &[
    Variant {
        name: "homa",
        congestion: None,
        many_peers: true,
        serve: |job| homa::serve(job, Spin),
        measure: homa::measure,
    },
    Variant {
        name: "homa_singly",
        congestion: None,
        many_peers: true,
        serve: ways::serve_singly,
        measure: ways::measure_singly,
    },
    Variant {
        name: "udp_gso_gro",
        congestion: None,
        many_peers: false,
        serve: udp::serve_offloaded,
        measure: udp::measure_offloaded,
    },
    Variant {
        name: "udp_mmsg",
        congestion: None,
        many_peers: true,
        serve: udp::serve_batched,
        measure: udp::measure_batched,
    },
    Variant {
        name: "udp_single",
        congestion: None,
        many_peers: true,
        serve: udp::serve_single,
        measure: udp::measure_single,
    },
    Variant {
        name: "tcp_per_message",
        congestion: Some("cubic"),
        many_peers: false,
        serve: |job| tcp::serve_per_message(job, CUBIC),
        measure: |job, meter| tcp::measure_per_message(job, meter, CUBIC),
    },
    Variant {
        name: "tcp_batched",
        congestion: Some("cubic"),
        many_peers: false,
        serve: |job| tcp::serve_batched(job, CUBIC),
        measure: |job, meter| tcp::measure_batched(job, meter, CUBIC),
    },
    Variant {
        name: "tcp_bbr_batched",
        congestion: Some("bbr"),
        many_peers: false,
        serve: |job| tcp::serve_batched(job, BBR),
        measure: |job, meter| tcp::measure_batched(job, meter, BBR),
    },
    Variant {
        name: "homa_tokio",
        congestion: None,
        many_peers: true,
        serve: homa::serve_in_tasks,
        measure: homa::measure_tokio,
    },
    Variant {
        name: "homa_tokio_all",
        congestion: None,
        many_peers: true,
        serve: ways::serve_in_a_task,
        measure: ways::measure_in_a_task,
    },
    Variant {
        name: "tcp_tokio",
        congestion: Some("cubic"),
        many_peers: false,
        serve: |job| tcp_tokio::serve(job, CUBIC),
        measure: |job, meter| tcp_tokio::measure(job, meter, CUBIC),
    },
    #[cfg(feature = "rivals")]
    Variant {
        name: "quinn",
        congestion: None,
        many_peers: false,
        serve: |job| rivals::quinn::serve(job, Answer::Echo),
        measure: |job, meter| rivals::measure_quinn(job, meter, Answer::Echo),
    },
    #[cfg(feature = "rivals")]
    Variant {
        name: "tonic",
        congestion: Some("cubic"),
        many_peers: false,
        serve: |job| rivals::tonic::serve(job, Answer::Echo),
        measure: |job, meter| rivals::measure_tonic(job, meter, Answer::Echo),
    },
];

const RATIOS: &[Ratio] = &[
    Ratio::of("homa/udp_gso_gro", &["homa"], &["udp_gso_gro"]),
    Ratio::of("homa/homa_singly", &["homa"], &["homa_singly"]),
    Ratio::of("homa/udp_mmsg", &["homa"], &["udp_mmsg"]),
    Ratio::of("homa/tcp_per_message", &["homa"], &["tcp_per_message"]),
    Ratio::of("homa/tcp_batched", &["homa"], &["tcp_batched"]),
    Ratio::of(
        "homa_tokio_all/homa_tokio",
        &["homa_tokio_all"],
        &["homa_tokio"],
    ),
    Ratio::of("homa_tokio/tcp_tokio", &["homa_tokio"], &["tcp_tokio"]),
    Ratio::of("homa_tokio/quinn", &["homa_tokio"], &["quinn"]),
    Ratio::of("homa_tokio/tonic", &["homa_tokio"], &["tonic"]),
];

/// `homa bench rate --engines N`: does a process do more with several engines?
pub(super) const ENGINES: Suite = Suite {
    name: "engines",
    title: "RPCs of 100 bytes each way by several engines of one process, many at once for each",
    figure: SUITE.figure,
    work: MILLION_RPCS,
    message_bytes: 100,
    outstanding: 100,
    variants: ENGINE_VARIANTS,
    ratios: ENGINE_RATIOS,
};

/// Numbers of engines that can be asked for.
pub(super) const ENGINE_COUNTS: [usize; 3] = [2, 4, 8];

const ENGINE_VARIANTS: &[Variant] = &[
    Variant {
        name: "engines_1",
        congestion: None,
        many_peers: true,
        serve: |job| engines::serve(job, 1),
        measure: |job, meter| engines::measure(job, meter, 1),
    },
    Variant {
        name: "engines_2",
        congestion: None,
        many_peers: true,
        serve: |job| engines::serve(job, 2),
        measure: |job, meter| engines::measure(job, meter, 2),
    },
    Variant {
        name: "engines_4",
        congestion: None,
        many_peers: true,
        serve: |job| engines::serve(job, 4),
        measure: |job, meter| engines::measure(job, meter, 4),
    },
    Variant {
        name: "engines_8",
        congestion: None,
        many_peers: true,
        serve: |job| engines::serve(job, 8),
        measure: |job, meter| engines::measure(job, meter, 8),
    },
];

const ENGINE_RATIOS: &[Ratio] = &[
    Ratio::of("engines_2/engines_1", &["engines_2"], &["engines_1"]),
    Ratio::of("engines_4/engines_1", &["engines_4"], &["engines_1"]),
    Ratio::of("engines_8/engines_1", &["engines_8"], &["engines_1"]),
];

/// `homa bench rate --threads`: do several threads on one socket do more than one?
pub(super) const THREADS: Suite = Suite {
    name: "threads",
    title: "RPCs of 100 bytes each way by threads of one client on one socket, one at a time for each",
    figure: SUITE.figure,
    work: MILLION_RPCS,
    message_bytes: 100,
    outstanding: 1,
    variants: THREAD_VARIANTS,
    ratios: THREAD_RATIOS,
};

const THREAD_VARIANTS: &[Variant] = &[
    Variant {
        name: "threads_1",
        congestion: None,
        many_peers: false,
        serve: |job| homa::serve(job, Block),
        measure: |job, meter| ways::measure_threads(job, meter, 1),
    },
    Variant {
        name: "threads_2",
        congestion: None,
        many_peers: false,
        serve: |job| homa::serve(job, Block),
        measure: |job, meter| ways::measure_threads(job, meter, 2),
    },
    Variant {
        name: "threads_4",
        congestion: None,
        many_peers: false,
        serve: |job| homa::serve(job, Block),
        measure: |job, meter| ways::measure_threads(job, meter, 4),
    },
];

const THREAD_RATIOS: &[Ratio] = &[
    Ratio::of("threads_2/threads_1", &["threads_2"], &["threads_1"]),
    Ratio::of("threads_4/threads_1", &["threads_4"], &["threads_1"]),
];
