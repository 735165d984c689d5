//! What an error number of the kernel says about a send, and whether it is about this one.

use crate::link::{Refusal, Unreachable};
use crate::sys::Errno;

/// What an error number of a send means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The send buffer is full.
    Full,
    /// A signal came in between.
    Interrupted,
    /// About an earlier datagram, or else this refusal.
    MayBePending(Refusal),
    /// The device may be unable to segment.
    Segmentation,
    Refused(Refusal),
}

pub(crate) fn verdict(errno: Errno, segmented: bool, source_given: bool) -> Verdict {
    if may_be_pending(errno) {
        return Verdict::MayBePending(match errno.0 {
            libc::ENETUNREACH => Refusal::Unreachable(Unreachable::Network),
            libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ENONET => {
                Refusal::Unreachable(Unreachable::Host)
            }
            libc::EMSGSIZE => Refusal::TooBig,
            libc::EACCES => Refusal::Forbidden,
            // Never about the present datagram: other ones were refused time and again meanwhile.
            libc::ECONNREFUSED => Refusal::Dropped,
            other => Refusal::Other(other),
        });
    }
    match errno.0 {
        libc::EAGAIN => Verdict::Full,
        libc::EINTR => Verdict::Interrupted,
        // EIO: the device computes no checksums. EINVAL: among others, no segmentation here.
        libc::EIO | libc::EINVAL if segmented => Verdict::Segmentation,
        libc::EINVAL | libc::EADDRNOTAVAIL if source_given => {
            Verdict::Refused(Refusal::SourceNotLocal)
        }
        libc::EPERM => Verdict::Refused(Refusal::Forbidden),
        libc::ENOBUFS | libc::ENOMEM => Verdict::Refused(Refusal::Dropped),
        other => Verdict::Refused(Refusal::Other(other)),
    }
}

/// Whether `errno` may be a report about an earlier datagram rather than about the present call.
///
/// With error reports on, the kernel fails whichever call comes next with the error of a datagram
/// that was sent before. Reporting clears it, so the call is simply repeated.
pub(crate) fn may_be_pending(errno: Errno) -> bool {
    matches!(
        errno.0,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EMSGSIZE
            | libc::EACCES
    )
}

/// The most times in a row that a send is repeated because of pending errors. A second repetition is
/// rare already: a further report must have arrived between two system calls.
pub(crate) const PENDING_REPEATS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segmented_sends_take_a_refusal_for_missing_segmentation() {
        for errno in [libc::EIO, libc::EINVAL] {
            for source_given in [false, true] {
                assert_eq!(
                    verdict(Errno(errno), true, source_given),
                    Verdict::Segmentation
                );
            }
            assert_eq!(
                verdict(Errno(errno), false, false),
                Verdict::Refused(Refusal::Other(errno))
            );
        }
        let not_local = Verdict::Refused(Refusal::SourceNotLocal);
        assert_eq!(verdict(Errno(libc::EINVAL), false, true), not_local);
        assert_eq!(verdict(Errno(libc::EADDRNOTAVAIL), false, true), not_local);
    }

    #[test]
    fn each_error_number_of_a_send_has_one_meaning() {
        let pending = Verdict::MayBePending;
        let unreachable = Refusal::Unreachable;
        let table = [
            (libc::EAGAIN, Verdict::Full),
            (libc::EINTR, Verdict::Interrupted),
            (libc::EPERM, Verdict::Refused(Refusal::Forbidden)),
            (libc::ENOBUFS, Verdict::Refused(Refusal::Dropped)),
            (libc::ENOMEM, Verdict::Refused(Refusal::Dropped)),
            (libc::ECONNREFUSED, pending(Refusal::Dropped)),
            (libc::EACCES, pending(Refusal::Forbidden)),
            (libc::EMSGSIZE, pending(Refusal::TooBig)),
            (
                libc::ENETUNREACH,
                pending(unreachable(Unreachable::Network)),
            ),
            (libc::EHOSTUNREACH, pending(unreachable(Unreachable::Host))),
        ];
        for (errno, meaning) in table {
            for segmented in [false, true] {
                assert_eq!(
                    verdict(Errno(errno), segmented, false),
                    meaning,
                    "errno {errno}"
                );
            }
        }
    }
}
