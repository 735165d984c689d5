//! Which link to use, chosen by a word (`--link udp`).

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use crate::ip::Ip;
use crate::link::Link;
use crate::tunnel::Tunnel;
use crate::udp::{BindError, Options, Udp};

/// A kind of link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkKind {
    /// UDP over IPv4 or IPv6; needs no privileges.
    #[default]
    Udp,
    /// IP protocol 146, as the Homa kernel module speaks it; takes CAP_NET_RAW.
    Ip,
    /// The kernel module's UDP tunnel, from port 54321 to port 54321; needs no privileges.
    Tunnel,
}

impl LinkKind {
    /// Every kind there is.
    pub const ALL: &'static [Self] = &[Self::Udp, Self::Ip, Self::Tunnel];

    /// The word that names it on a command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Ip => "ip",
            Self::Tunnel => "tunnel",
        }
    }

    /// Opens a link of this kind on `address`.
    ///
    /// # Errors
    ///
    /// See [`BindError`]; its text says what to do next.
    pub fn bind(self, address: SocketAddr, options: &Options) -> Result<Box<dyn Link>, BindError> {
        match self {
            Self::Udp => Ok(Box::new(Udp::bind(address, options)?)),
            Self::Ip => Ok(Box::new(Ip::bind(address, options)?)),
            Self::Tunnel => Ok(Box::new(Tunnel::bind(address, options)?)),
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for LinkKind {
    type Err = UnknownLink;

    fn from_str(word: &str) -> Result<Self, UnknownLink> {
        let known = |kind: &&Self| kind.word() == word;
        Self::ALL
            .iter()
            .find(known)
            .copied()
            .ok_or_else(|| UnknownLink(word.to_owned()))
    }
}

/// A word that names no [`LinkKind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLink(String);

impl fmt::Display for UnknownLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown link `{}`; known links:", self.0)?;
        LinkKind::ALL
            .iter()
            .try_for_each(|kind| write!(f, " {kind}"))
    }
}

impl core::error::Error for UnknownLink {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_word() {
        for kind in LinkKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(*kind));
        }
    }

    #[test]
    fn an_unknown_word_lists_the_known_ones() {
        let error = "carrier-pigeon".parse::<LinkKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown link `carrier-pigeon`; known links: udp ip tunnel"
        );
    }

    #[test]
    fn a_link_is_bound_by_its_kind() {
        let address = "127.0.0.1:0".parse().unwrap();
        let link = LinkKind::Udp.bind(address, &Options::default()).unwrap();
        assert_ne!(link.local_addr().port(), 0);
    }
}
