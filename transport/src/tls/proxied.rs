//! The PROXY protocol in front of TLS, versions 1 and 2: a load balancer that the configuration names says whose connection it passes on.
//!
//! A header is read only from these networks; there it may be missing, as a balancer's own probes are without one. Its bytes are counted
//! before they are kept. Anyone else who sends one is refused: it would choose the address that limits and the audit log know it by. A
//! TLS record never begins as either version does. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest line of version 1, with its end: section 2.1.
const MAX_V1_LEN: usize = 107;
/// What is always there of version 2: signature, command, family and length.
const V2_START_LEN: usize = 16;
/// Most bytes after these: addresses, and what a balancer tells beside them (names, a TLS version, an identifier), which is not looked at.
const MAX_V2_REST_LEN: usize = 4096;
/// Bits before the IPv4 address in an IPv6 one: RFC 4291, section 2.5.5.2.
const MAPPED_PREFIX_LEN: u8 = 96;
/// How the versions begin.
const V1_START: u8 = b'P';
const V2_START: u8 = b'\r';

/// The networks of the load balancers that are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// Why a network is none.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no network in CIDR notation, as 10.0.0.0/8 is")]
pub struct NotANetwork {
    text: String,
}

/// Why a connection ends before its handshake.
#[derive(Debug, thiserror::Error)]
pub enum ProxyRefused {
    /// Of someone who is no load balancer.
    #[error("a PROXY protocol header from outside proxy_protocol_trusted_cidrs")]
    NotTrusted,
    /// Longer than it can reasonably be.
    #[error("a PROXY protocol header of more than {limit} bytes")]
    TooLong {
        /// The most.
        limit: usize,
    },
    /// Not as the specification says.
    #[error("a PROXY protocol header that can't be read")]
    Malformed(#[source] proxy_header::Error),
    /// About another kind of traffic.
    #[error("a PROXY protocol header about datagrams")]
    Datagrams,
    /// It ended too soon.
    #[error("the connection broke within its PROXY protocol header")]
    Io(#[from] io::Error),
}

impl TrustedProxies {
    /// From networks as the configuration writes them. None at all: the protocol is not spoken. One of IPv4 in the form of IPv6 counts as
    /// what it is, as addresses do.
    pub fn parse<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, NotANetwork> {
        let parse = |text: &str| text.parse().map(canonical).map_err(|_no| NotANetwork { text: text.to_owned() });
        Ok(Self(networks.into_iter().map(parse).collect::<Result<_, _>>()?))
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether this connection, which begins with this byte, begins with a header that is to be read.
    pub(super) fn expects_header(&self, address: SocketAddr, first: u8) -> Result<bool, ProxyRefused> {
        if self.0.is_empty() || !matches!(first, V1_START | V2_START) {
            return Ok(false);
        }
        if self.contains(address.ip()) { Ok(true) } else { Err(ProxyRefused::NotTrusted) }
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`; one that is wider than all of IPv4 stays.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else { return network };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(MAPPED_PREFIX_LEN));
    four.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

/// Reads a header, and not a byte more. The client's address, unless the balancer speaks for itself or does not know.
pub async fn read_proxy_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyRefused> {
    let mut header = vec![stream.read_u8().await?];
    if header == [V1_START] {
        while !header.ends_with(b"\r\n") {
            if header.len() == MAX_V1_LEN {
                return Err(ProxyRefused::TooLong { limit: MAX_V1_LEN });
            }
            header.push(stream.read_u8().await?);
        }
        // The parser does not look at this octet.
        if !header.starts_with(b"PROXY ") {
            return Err(ProxyRefused::Malformed(proxy_header::Error::Invalid));
        }
    } else {
        let mut start = [0; V2_START_LEN - 1];
        stream.read_exact(&mut start).await?;
        header.extend(start);
        let [.., high, low] = start;
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if rest > MAX_V2_REST_LEN {
            return Err(ProxyRefused::TooLong { limit: V2_START_LEN + MAX_V2_REST_LEN });
        }
        header.resize(V2_START_LEN + rest, 0);
        let (_, rest) = header.split_at_mut(V2_START_LEN);
        stream.read_exact(rest).await?;
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, _) = ProxyHeader::parse(&header, config).map_err(ProxyRefused::Malformed)?;
    match header.proxied_address() {
        None => Ok(None),
        Some(proxied) if proxied.protocol == Protocol::Stream => Ok(Some(proxied.source)),
        Some(_) => Err(ProxyRefused::Datagrams),
    }
}

#[cfg(test)]
mod tests;
