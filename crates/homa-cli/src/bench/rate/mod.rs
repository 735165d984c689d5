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
use super::suite::Waiting::{Block, Spin};
use super::suite::{Figure, MILLION_RPCS, Ratio, Suite, Variant};
#[cfg(feature = "rivals")]
use crate::answer::Answer;
use crate::congestion::Congestion::{Bbr, Cubic};

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
    Variant::new("homa", |job| homa::serve(job, Spin), homa::measure).to_many_peers(),
    Variant::new("homa_singly", ways::serve_singly, ways::measure_singly).to_many_peers(),
    Variant::new("udp_gso_gro", udp::serve_offloaded, udp::measure_offloaded),
    Variant::new("udp_mmsg", udp::serve_batched, udp::measure_batched).to_many_peers(),
    Variant::new("udp_single", udp::serve_single, udp::measure_single).to_many_peers(),
    Variant::new(
        "tcp_per_message",
        |job| tcp::serve_per_message(job, Cubic),
        |job, meter| tcp::measure_per_message(job, meter, Cubic),
    )
    .over(Cubic),
    Variant::new(
        "tcp_batched",
        |job| tcp::serve_batched(job, Cubic),
        |job, meter| tcp::measure_batched(job, meter, Cubic),
    )
    .over(Cubic),
    Variant::new(
        "tcp_bbr_batched",
        |job| tcp::serve_batched(job, Bbr),
        |job, meter| tcp::measure_batched(job, meter, Bbr),
    )
    .over(Bbr),
    Variant::new("homa_tokio", homa::serve_in_tasks, homa::measure_tokio).to_many_peers(),
    Variant::new(
        "homa_tokio_all",
        ways::serve_in_a_task,
        ways::measure_in_a_task,
    )
    .to_many_peers(),
    Variant::new(
        "tcp_tokio",
        |job| tcp_tokio::serve(job, Cubic),
        |job, meter| tcp_tokio::measure(job, meter, Cubic),
    )
    .over(Cubic),
    #[cfg(feature = "rivals")]
    Variant::new(
        "quinn",
        |job| rivals::quinn::serve(job, Answer::Echo),
        |job, meter| rivals::measure_quinn(job, meter, Answer::Echo),
    ),
    #[cfg(feature = "rivals")]
    Variant::new(
        "tonic",
        |job| rivals::tonic::serve(job, Answer::Echo),
        |job, meter| rivals::measure_tonic(job, meter, Answer::Echo),
    )
    .over(Cubic),
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
    Variant::new(
        "engines_1",
        |job| engines::serve(job, 1),
        |job, meter| engines::measure(job, meter, 1),
    )
    .to_many_peers(),
    Variant::new(
        "engines_2",
        |job| engines::serve(job, 2),
        |job, meter| engines::measure(job, meter, 2),
    )
    .to_many_peers(),
    Variant::new(
        "engines_4",
        |job| engines::serve(job, 4),
        |job, meter| engines::measure(job, meter, 4),
    )
    .to_many_peers(),
    Variant::new(
        "engines_8",
        |job| engines::serve(job, 8),
        |job, meter| engines::measure(job, meter, 8),
    )
    .to_many_peers(),
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
    Variant::new(
        "threads_1",
        |job| homa::serve(job, Block),
        |job, meter| ways::measure_threads(job, meter, 1),
    ),
    Variant::new(
        "threads_2",
        |job| homa::serve(job, Block),
        |job, meter| ways::measure_threads(job, meter, 2),
    ),
    Variant::new(
        "threads_4",
        |job| homa::serve(job, Block),
        |job, meter| ways::measure_threads(job, meter, 4),
    ),
];

const THREAD_RATIOS: &[Ratio] = &[
    Ratio::of("threads_2/threads_1", &["threads_2"], &["threads_1"]),
    Ratio::of("threads_4/threads_1", &["threads_4"], &["threads_1"]),
];
