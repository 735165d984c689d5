//! Which processors client and server have.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::cpu;
use crate::failure::Failure;

/// The processors of either side.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Placement {
    pub(super) client: Vec<usize>,
    pub(super) server: Vec<usize>,
}

impl Placement {
    /// One each. Where there is only one, both have that.
    pub(super) fn pair() -> Self {
        let allowed = cpu::allowed();
        Self {
            client: allowed.iter().take(1).copied().collect(),
            server: allowed
                .get(1)
                .or_else(|| allowed.first())
                .copied()
                .into_iter()
                .collect(),
        }
    }

    /// One for each of `count` engines at either side; where there are not that many, the two
    /// engines that talk to each other have one together.
    ///
    /// # Errors
    /// There are not enough for that either.
    pub(super) fn of_engines(count: usize) -> Result<Self, Failure> {
        Self::among(&cpu::allowed(), count)
    }

    fn among(allowed: &[usize], count: usize) -> Result<Self, Failure> {
        if allowed.len() < count {
            return Err(Failure::Usage(format!(
                "--engines {count} takes {count} processors, and this machine has {}; type: homa \
                 bench rate --engines {}",
                allowed.len(),
                allowed.len().max(1)
            )));
        }
        let (client, rest) = allowed.split_at(count);
        let server = rest.get(..count).unwrap_or(client);
        Ok(Self {
            client: client.to_vec(),
            server: server.to_vec(),
        })
    }

    /// Whether both sides have the same processors, so that none may spin.
    pub(super) fn is_shared(&self) -> bool {
        self.client == self.server
    }

    /// All of them.
    pub(super) fn cpus(&self) -> Vec<usize> {
        let mut cpus = [&self.client[..], &self.server].concat();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_shared() {
            let cpus = list(&self.client);
            return write!(
                f,
                "client and server together on CPU {cpus}, since there are no more"
            );
        }
        let [client, server] = [&self.client, &self.server].map(|side| list(side));
        write!(f, "client on CPU {client}, server on CPU {server}")
    }
}

fn list(cpus: &[usize]) -> String {
    let numbers: Vec<String> = cpus.iter().map(usize::to_string).collect();
    numbers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_processors_of_their_own_where_there_are_enough() {
        let own = Placement::among(&[0, 2, 4, 6, 8], 2).unwrap();
        assert_eq!(
            (&own.client[..], &own.server[..]),
            (&[0, 2][..], &[4, 6][..])
        );
        assert_eq!(own.to_string(), "client on CPU 0, 2, server on CPU 4, 6");
        assert_eq!(own.cpus(), [0, 2, 4, 6]);

        let shared = Placement::among(&[0, 1], 2).unwrap();
        assert!(shared.is_shared() && shared.cpus() == [0, 1]);
        let refused = Placement::among(&[0, 1], 4).unwrap_err();
        assert!(
            refused.to_string().contains("and this machine has 2"),
            "{refused}"
        );
    }
}
