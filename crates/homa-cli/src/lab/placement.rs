//! Which processors the switch and the hosts have.

use serde::{Deserialize, Serialize};

use crate::cpu;

/// The switch has a processor of its own, on which it never sleeps while packets come; where there is
/// only one, all share it and the switch sleeps between packets.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Placement {
    pub(super) switch: Vec<usize>,
    pub(super) hosts: Vec<usize>,
}

impl Placement {
    /// The first processor that this process may use for the switch, all others for the hosts.
    pub(super) fn of_machine() -> Self {
        Self::among(&cpu::allowed())
    }

    fn among(allowed: &[usize]) -> Self {
        let (switch, hosts) = allowed.split_at(allowed.len().min(1));
        Self {
            switch: switch.to_vec(),
            hosts: if hosts.is_empty() { switch } else { hosts }.to_vec(),
        }
    }

    /// Whether the switch is alone on its processor.
    pub(super) fn is_apart(&self) -> bool {
        self.switch != self.hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_alone_where_there_are_two_processors() {
        let two = Placement::among(&[3, 5]);
        assert_eq!((&two.switch[..], &two.hosts[..]), (&[3][..], &[5][..]));
        assert!(two.is_apart());
        assert!(!Placement::among(&[0]).is_apart() && !Placement::among(&[]).is_apart());
    }
}
