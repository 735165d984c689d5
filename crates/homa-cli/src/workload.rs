//! Message sizes of what is sent over real links.

use homa_sim::Workload;

/// The longest message that is sent, in bytes; longer ones are cut to it.
pub(crate) const MESSAGE_MAX_BYTES: usize = 1_000_000;

/// The name of a workload, for processes that are told it.
///
/// # Errors
/// One line that says what is wrong with the name or the file.
pub(crate) fn name(word: &str) -> Result<String, String> {
    named(word).map(|_| word.to_owned())
}

/// The workload called `word` (`w1` to `w5`), else the one in the file of that name, cut to
/// [`MESSAGE_MAX_BYTES`].
///
/// # Errors
/// One line that says what is wrong with the name or the file.
pub(crate) fn named(word: &str) -> Result<Workload, String> {
    Workload::named(word).map(|workload| workload.cut_at(MESSAGE_MAX_BYTES))
}
