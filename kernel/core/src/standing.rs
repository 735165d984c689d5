//! How far an RPC is, for `HOMAIOCINFO`. It decides nothing.

use homa_proto::{RpcKey, RpcView};

use crate::contain::Core;

/// `struct homa_core_standing`: how far the messages of an RPC are, all in bytes from the first on but
/// where said otherwise; 0 of a message that is not there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CStanding {
    /// Sent at least once.
    pub tx_sent: u32,
    /// May be sent.
    pub tx_granted: u32,
    /// Level of granted bytes.
    pub tx_priority: u32,
    /// Bytes that have not come.
    pub rx_missing: u32,
    /// Gaps in what came.
    pub rx_gaps: u32,
    /// Bytes in these gaps.
    pub rx_gap_bytes: u32,
    /// May be sent to us.
    pub rx_granted: u32,
    /// 0.
    pub pad: u32,
}

const _: () = assert!(size_of::<CStanding>() == 32);

impl From<RpcView> for CStanding {
    fn from(view: RpcView) -> Self {
        let mut all = Self::default();
        if let Some(sending) = view.sending {
            all.tx_sent = sending.sent;
            all.tx_granted = sending.granted;
            all.tx_priority = u32::from(sending.priority.get());
        }
        if let Some(receiving) = view.receiving {
            all.rx_missing = receiving.length - receiving.received;
            all.rx_gaps = receiving.gaps;
            all.rx_gap_bytes = receiving.gap_bytes;
            all.rx_granted = receiving.granted;
        }
        all
    }
}

/// Writes how far an RPC is; `false` if it is over.
///
/// # Safety
/// As [`homa_core_open`](crate::homa_core_open), and `standing` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_standing(
    core: *mut Core,
    rpc: u64,
    standing: *mut CStanding,
) -> bool {
    // SAFETY: the caller's promise.
    let (core, standing) = unsafe { (&mut *core, &mut *standing) };
    let answer = core.with(|engine| engine.rpc_named(RpcKey::from_bits(rpc)));
    match answer.flatten() {
        Some(view) => {
            *standing = view.into();
            true
        }
        None => false,
    }
}
