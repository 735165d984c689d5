//! The lab's network: hosts, and one of two switches between them.

use core::time::Duration;
use std::io;
use std::thread;

use clap::ValueEnum;
use homa_sim::{BufferConfig, LinkConfig};
use serde::Serialize;

use super::fabric::{DEVICE_QUEUE_PACKETS, Fabric};
use super::htb::Htb;
use super::placement::Placement;
use super::running::{Running, Span, Standing};
use super::shield::{Shield, Shielded};
use crate::failure::Failure;
use crate::network::namespace::Namespace;
use crate::network::star;

/// How often is looked whether queues are empty.
const LOOK: Duration = Duration::from_millis(5);

/// What joins the hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SwitchKind {
    /// The simulator's switch in real time, whose queues are known exactly.
    Exact,
    /// The kernel's own HTB at the ports of a bridge: no shared buffer, and nobody knows how late it
    /// is. It takes `tc` (iproute2).
    Htb,
}

/// What a network is to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) switch: SwitchKind,
    pub(super) hosts: u8,
    pub(super) link: LinkConfig,
    /// Of the switch.
    pub(super) buffer: BufferConfig,
    /// Whether other programs may run on the switch's processor.
    pub(super) is_shared: bool,
}

/// Hosts that are joined. All of it is gone when this is dropped.
pub(super) struct Network {
    pub(super) hosts: Vec<Namespace>,
    switch: Switch,
    shield: Shield,
}

enum Switch {
    Exact(Running),
    Htb(Htb),
}

impl Network {
    /// Makes the hosts and starts the switch between them. Called while the process has one thread.
    ///
    /// # Errors
    /// Something is missing; the text says what to do.
    pub(super) fn lay(layout: &Layout, placement: &Placement) -> Result<Self, Failure> {
        let Layout {
            hosts,
            link,
            buffer,
            ..
        } = *layout;
        match layout.switch {
            SwitchKind::Htb => {
                let laid = Htb::lay(hosts, link, buffer, &placement.hosts).map_err(refused)?;
                Ok(Self {
                    hosts: laid.0,
                    switch: Switch::Htb(laid.1),
                    shield: Shield::none(),
                })
            }
            SwitchKind::Exact => {
                let laid = star::lay(hosts, DEVICE_QUEUE_PACKETS, &placement.hosts);
                let (places, tuns) = laid.map_err(refused)?;
                let shield = Shield::raise(placement, layout.is_shared)?;
                let fabric = Fabric::new(hosts, link, buffer);
                let running = Running::start(fabric, tuns, placement, shield.is_alone())
                    .map_err(Failure::work("cannot start the switch"))?;
                Ok(Self {
                    hosts: places,
                    switch: Switch::Exact(running),
                    shield,
                })
            }
        }
    }

    /// How the switch has its processor.
    pub(super) const fn standing(&self) -> Standing {
        match &self.switch {
            Switch::Exact(running) => running.standing,
            Switch::Htb(_) => Standing::Kernel,
        }
    }

    /// Who was kept off it; `None` if that was not tried.
    pub(super) fn shielded(&self) -> Option<Shielded> {
        self.shield.shielded()
    }

    /// What happened since this was asked last; counting begins anew.
    pub(super) fn span(&self) -> Result<Span, Failure> {
        let span = match &self.switch {
            Switch::Exact(running) => running.span(),
            Switch::Htb(htb) => htb.span(&self.hosts),
        };
        span.map_err(Failure::work("the switch"))
    }

    /// Waits until nothing waits in the switch; counting begins anew.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        while self.span()?.held_bytes > 0 {
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// Why there is no network, and what to do.
fn refused(error: io::Error) -> Failure {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it takes root, or user namespaces that anyone may make (sysctl \
             kernel.unprivileged_userns_clone, user.max_user_namespaces) and a /dev/net/tun that \
             this user may open; homa sim figures and homa demo need no rights"
        }
        io::ErrorKind::NotFound => {
            "; /dev/net/tun is missing: modprobe tun, and to a container it is given with \
             --device /dev/net/tun; --switch htb needs none"
        }
        _ => "",
    };
    Failure::Work(format!("cannot lay the network: {error}{way_out}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let told = |kind: io::ErrorKind| refused(kind.into()).to_string();
        assert!(told(io::ErrorKind::PermissionDenied).contains("takes root"));
        assert!(told(io::ErrorKind::NotFound).contains("modprobe tun"));
        let other = told(io::ErrorKind::InvalidInput);
        assert!(other.starts_with("cannot lay the network: ") && !other.contains(';'));
    }
}
