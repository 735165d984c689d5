//! What an operator sets, before the engine of a namespace comes. It decides nothing.

use core::time::Duration;

use homa_proto::Config;

/// `struct homa_core_settings`: the sysctls under `net.homa`, in their units.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSettings {
    /// [`Config::unscheduled_bytes`].
    pub unsched_bytes: u32,
    /// [`Config::max_incoming_bytes`].
    pub max_incoming: u32,
    /// [`Config::window_bytes`], 0 for `None`.
    pub window: u32,
    /// [`Config::overcommitment`].
    pub max_overcommit: u32,
    /// [`Config::priorities`].
    pub num_priorities: u32,
    /// [`Config::fifo_grant_bytes`].
    pub fifo_grant_increment: u32,
    /// [`Config::fifo_grant_permille`].
    pub grant_fifo_fraction: u32,
    /// [`Config::pacer_fifo_permille`].
    pub pacer_fifo_fraction: u32,
    /// [`Config::link_bits_per_second`] in millions, 0 for `None`.
    pub link_mbps: u32,
    /// [`Config::resend_interval`], in milliseconds.
    pub resend_ticks: u32,
    /// [`Config::timeout`], in milliseconds.
    pub timeout_ticks: u32,
    /// [`Config::ack_interval`], in milliseconds.
    pub request_ack_ticks: u32,
}

const _: () = assert!(size_of::<CSettings>() == 48);

/// RPCs of an engine, for which the shim has a table; `HOMA_RPCS_MAX` there.
const RPCS_MAX: u32 = 1 << 18;

/// What the kernel sets itself.
fn base(udp: bool) -> Config {
    if udp {
        // A number of its own: ids are unique over both engines of a namespace.
        return Config {
            engine: 1,
            max_client_rpcs: RPCS_MAX / 2,
            max_server_rpcs: RPCS_MAX / 2,
            joins_segments: true,
            ..Config::user_space()
        };
    }
    Config {
        max_client_rpcs: RPCS_MAX / 2,
        max_server_rpcs: RPCS_MAX / 2,
        joins_segments: true,
        // IPv4 header, and Ethernet with its gap.
        packet_overhead_bytes: 20 + 38,
        ..Config::default()
    }
}

fn milliseconds(time: Duration) -> u32 {
    time.as_millis() as u32
}

impl Default for CSettings {
    fn default() -> Self {
        let config = base(false);
        let rate = config.link_bits_per_second.unwrap_or(0);
        Self {
            unsched_bytes: config.unscheduled_bytes,
            max_incoming: config.max_incoming_bytes,
            window: config.window_bytes.unwrap_or(0),
            max_overcommit: config.overcommitment.into(),
            num_priorities: config.priorities.into(),
            fifo_grant_increment: config.fifo_grant_bytes,
            grant_fifo_fraction: config.fifo_grant_permille.into(),
            pacer_fifo_fraction: config.pacer_fifo_permille.into(),
            link_mbps: (rate / 1_000_000) as u32,
            resend_ticks: milliseconds(config.resend_interval),
            timeout_ticks: milliseconds(config.timeout),
            request_ack_ticks: milliseconds(config.ack_interval),
        }
    }
}

impl CSettings {
    /// What the engine is told; `None` if it would refuse it.
    pub(crate) fn to_config(self, udp: bool) -> Option<Config> {
        let base = base(udp);
        let timeout = Duration::from_millis(self.timeout_ticks.into());
        let rate = u64::from(self.link_mbps) * 1_000_000;
        let config = Config {
            unscheduled_bytes: self.unsched_bytes,
            max_incoming_bytes: self.max_incoming,
            window_bytes: (self.window > 0).then_some(self.window),
            overcommitment: self.max_overcommit.try_into().ok()?,
            priorities: self.num_priorities.try_into().ok()?,
            fifo_grant_bytes: self.fifo_grant_increment,
            fifo_grant_permille: self.grant_fifo_fraction.try_into().ok()?,
            pacer_fifo_permille: self.pacer_fifo_fraction.try_into().ok()?,
            link_bits_per_second: (rate > 0).then_some(rate),
            resend_interval: Duration::from_millis(self.resend_ticks.into()),
            // A process over UDP may be silent for longer than what suits kernels.
            timeout: if udp {
                timeout.max(base.timeout)
            } else {
                timeout
            },
            ack_interval: Duration::from_millis(self.request_ack_ticks.into()),
            ..base
        };
        config.check().ok()?;
        Some(config)
    }
}

/// Writes what is set at first.
///
/// # Safety
/// `settings` is valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_default_settings(settings: *mut CSettings) {
    // SAFETY: the caller's promise.
    unsafe { settings.write(CSettings::default()) };
}

/// Whether an engine can be made with these.
///
/// # Safety
/// `settings` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_settings_fit(settings: *const CSettings) -> bool {
    // SAFETY: the caller's promise.
    let settings = unsafe { *settings };
    settings.to_config(false).is_some() && settings.to_config(true).is_some()
}
