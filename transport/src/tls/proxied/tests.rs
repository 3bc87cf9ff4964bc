//! Headers as load balancers send them, and bytes that are none.

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const AFTER: &[u8] = b"\x16\x03\x01";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// What is read of these bytes, and what is left of them.
async fn read(bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyRefused>, Vec<u8>) {
    let mut stream = bytes;
    let read = read_proxy_header(&mut stream).await;
    (read, stream.to_vec())
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn headers_of_both_versions_name_the_client_and_end_where_tls_begins() {
    let four = [203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0x1f, 0x91];
    let six =
        [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], &[1; 16][..], &[0x30, 0x39, 0x1f, 0x91]].concat();
    let with_more = [&four[..], &[2, 0, 3, b'a', b'.', b'b']].concat();
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 8081\r\n".to_vec(), Some(address("203.0.113.7:12345"))),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 8081\r\n".to_vec(), Some(address("[2001:db8::7]:12345"))),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
        (v2(0x21, 0x11, &four), Some(address("203.0.113.7:12345"))),
        (v2(0x21, 0x21, &six), Some(address("[2001:db8::7]:12345"))),
        (v2(0x21, 0x11, &with_more), Some(address("203.0.113.7:12345"))),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &four), None),
        (v2(0x21, 0x00, &[4, 0, 1, 0]), None),
    ] {
        let (read, left) = read(&[&header, AFTER].concat()).await;
        assert_eq!(read.unwrap(), client, "{}", header.escape_ascii());
        assert_eq!(left, AFTER, "{}", header.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused_by_name() {
    let four = [203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0x1f, 0x91];
    for header in [
        b"POST / HTTP/1.1\r\n".to_vec(),
        b"PROXY\tTCP4 203.0.113.7 192.0.2.1 12345 8081\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 12345\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 12345 8081\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 80811\r\n".to_vec(),
        v2(0x31, 0x11, &four),
        v2(0x22, 0x11, &four),
        v2(0x21, 0x11, &four[..11]),
        v2(0x21, 0x41, &four),
    ] {
        let (read, _) = read(&[&header, AFTER].concat()).await;
        assert!(matches!(read, Err(ProxyRefused::Malformed(_))), "{}: {read:?}", header.escape_ascii());
    }
    let (datagrams, _) = read(&v2(0x21, 0x12, &four)).await;
    assert!(matches!(datagrams, Err(ProxyRefused::Datagrams)), "{datagrams:?}");
    for whole in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x21, 0x11, &four)] {
        for length in 0..whole.len() {
            let (cut, _) = read(&whole[..length]).await;
            assert!(matches!(cut, Err(ProxyRefused::Io(_))), "{length} bytes: {cut:?}");
        }
    }
}

#[tokio::test]
async fn no_more_than_the_limit_is_read() {
    let line = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    let (read_v1, left) = read(&line).await;
    assert!(matches!(read_v1, Err(ProxyRefused::TooLong { limit: MAX_V1_LEN })), "{read_v1:?}");
    assert_eq!(left.len(), line.len() - MAX_V1_LEN);
    let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; MAX_V1_LEN - 16], b"\r\n"].concat();
    assert_eq!(read(&longest).await.0.unwrap(), None);

    let of = |length: usize| v2(0x20, 0x00, &vec![0; length]);
    assert_eq!(read(&of(MAX_V2_REST_LEN)).await.0.unwrap(), None);
    let (read_v2, left) = read(&of(MAX_V2_REST_LEN + 1)).await;
    assert!(matches!(read_v2, Err(ProxyRefused::TooLong { .. })), "{read_v2:?}");
    assert_eq!(left.len(), MAX_V2_REST_LEN + 1, "nothing of it is waited for");
}

/// Threat 60
#[test]
fn headers_are_expected_of_trusted_networks_alone() {
    let trusted = TrustedProxies::parse(["10.0.0.1/8", "2001:db8::/32"]).unwrap();
    for peer in ["10.255.0.1:1", "[::ffff:10.1.2.3]:1", "[2001:db8:1::1]:1"] {
        for first in [b'P', b'\r'] {
            assert!(trusted.expects_header(address(peer), first).unwrap(), "{peer}");
        }
        assert!(!trusted.expects_header(address(peer), 0x16).unwrap(), "{peer} may speak for itself");
    }
    for peer in ["11.0.0.1:1", "[::ffff:11.1.2.3]:1", "[2001:db9::1]:1", "[::a00:1]:1"] {
        for first in [b'P', b'\r'] {
            let refused = trusted.expects_header(address(peer), first).unwrap_err();
            assert!(matches!(refused, ProxyRefused::NotTrusted), "{peer}: {refused}");
        }
        assert!(!trusted.expects_header(address(peer), 0x16).unwrap(), "{peer}");
    }
    assert!(!TrustedProxies::default().expects_header(address("10.0.0.1:1"), b'P').unwrap(), "left to TLS");
    let mapped = TrustedProxies::parse(["::ffff:10.0.0.0/104"]).unwrap();
    assert!(mapped.expects_header(address("10.1.2.3:1"), b'P').unwrap(), "one network in two forms");
    mapped.expects_header(address("11.1.2.3:1"), b'P').unwrap_err();
    for text in ["10.0.0.1", "10.0.0.0/33", "", "all", "10.0.0.0/8 "] {
        TrustedProxies::parse([text]).unwrap_err();
    }
}
