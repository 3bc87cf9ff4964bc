//! Every limit of the services, each with its reason.

use std::time::Duration;

/// SVIDs in one BatchNewX509SVID call: what SPIRE agents send at most.
pub const MAX_SVIDS_PER_CALL: usize = 500;
/// Entries in one batch call. SPIRE's command line sends hundreds; gRPC's 4 MiB per message holds about this many.
pub const MAX_ENTRIES_PER_CALL: usize = 5_000;
/// Length of a selector, type and value together. Longer than any attestor's, short enough to keep in memory for every node.
pub const MAX_SELECTOR_LEN: usize = 4_096;
/// Length of a join token that an operator chose. It becomes a path segment of the node's SPIFFE ID.
pub const MAX_TOKEN_LEN: usize = 255;
/// Length of the version that an agent says it has (SPIRE's number).
pub const MAX_AGENT_VERSION_LEN: usize = 255;
/// TPMs that wait for a person in one pool, and from one address. Each of them proved an EK that the pool trusts; a list must stay one
/// that a person can work through, and one site behind one address may bring up a few racks at once.
pub const MAX_PENDING_PER_POOL: u32 = 1_000;
/// See [`MAX_PENDING_PER_POOL`].
pub const MAX_PENDING_PER_SOURCE: u32 = 128;
/// Length of the reason that a person gives for a decision.
pub const MAX_REASON_LEN: usize = 1_024;
/// Items of a page where the caller does not say, and the most that it may ask for.
pub const MAX_PAGE: usize = 10_000;
/// Authorities in one AppendBundle call, and in a bundle: peers parse all of them at every refresh.
pub const MAX_AUTHORITIES: usize = 256;
/// JWT authorities of one downstream server, and of those below it, in the bundle: a quarter, so that one that fell does not keep the others
/// from rotating. A key stays for a day after its end, so a server with a `ca_ttl` of an hour has about thirty.
pub const MAX_PUBLISHED_KEYS: usize = MAX_AUTHORITIES / 4;
/// JWT authorities of all servers below one that is itself below another: the rest of its share there is for its own.
pub const MAX_KEYS_PASSED_UP: usize = MAX_PUBLISHED_KEYS - MAX_PUBLISHED_KEYS / 4;
/// Length of the key identifier of a downstream server's JWT authority, as of a path segment: agents and peers keep every one of them.
pub const MAX_PUBLISHED_KEY_ID_LEN: usize = 255;
/// Bundles, or federation relationships, in one batch call: each is a transaction of its own, as in SPIRE.
pub const MAX_FEDERATED_PER_CALL: usize = 1_000;
/// Signatures that one batch has under way at the same time. A network HSM hides its round trip behind them; a session pool
/// smaller than that queues.
pub const CONCURRENT_SIGNATURES: usize = 32;
/// How far the start of validity lies in the past at least, for peers whose clock is late (SPIRE: 10 s, always).
const LEAST_BACKDATE: u64 = 10;
/// And at most: clocks that nobody keeps are off by minutes.
const MOST_BACKDATE: u64 = 5 * 60;
/// The audience of one JWT-SVID, as JSON. In base64 it takes 11 KiB; with the longest SPIFFE ID and an RSA-4096 signature beside it the
/// token stays below the 16 KiB that validators read.
pub const MAX_AUDIENCE_LEN: usize = 8 * 1024;
/// Shortest lifetime worth signing; below that a peer would have nothing left after its own checks.
pub const MIN_SVID_TTL: Duration = Duration::from_secs(1);
/// Push streams of one agent at a time: a new one opens while the server has not yet seen the end of the one before. The oldest gives way.
pub const MAX_WATCHES_OF_AGENT: usize = 2;
/// How often the change log is looked at, and with it the bundle that others publish into: a look is one row, and whoever waits for this
/// server to serve an authority waits that long.
pub const FOLLOW_PERIOD: Duration = Duration::from_millis(500);
/// How often a server notes that it is there, where it has nothing new to tell. Who was given up is waited for again
/// from then on.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(10);
/// How long an authority waits for other servers before it signs all the same: ten looks at the log. Who does not follow it for that long is
/// dead, or cut off from the store, and is not waited for again until it is heard of; a trust domain that can't sign because one of its servers was unplugged would be worse.
pub const SERVERS_TAKE: Duration = Duration::from_secs(5);
/// Pause between two looks at what other servers serve.
pub const LOOK_FOR_SERVERS: Duration = Duration::from_millis(50);
/// How long an authority waits for the workloads of connected agents to have it. A push takes milliseconds; an agent that hangs must not
/// hold up all others.
pub const AGENTS_TAKE: Duration = Duration::from_secs(5);
/// Seconds after which the journal of a server that was not seen any more goes, if its authorities ended as well (SPIRE: 14 days).
pub const SERVER_FORGOTTEN: i64 = 14 * 24 * 3600;

/// How far the start of validity of what lives for so many seconds lies in the past: a twelfth. With an hour to live that is five minutes;
/// who lives for less needs a better clock anyway, and whoever renews at half of the validity would renew all the time.
pub fn backdate(lifetime: u64) -> u64 {
    (lifetime / 12).clamp(LEAST_BACKDATE, MOST_BACKDATE)
}

#[cfg(test)]
mod tests {
    use super::backdate;

    #[test]
    fn long_lives_begin_five_minutes_ago_and_short_ones_ten_seconds() {
        let lives = [1, 60, 120, 600, 3600, 86_400, u64::MAX];
        assert_eq!(lives.map(backdate), [10, 10, 10, 50, 300, 300, 300]);
    }
}
