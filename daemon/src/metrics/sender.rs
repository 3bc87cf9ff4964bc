//! Lines on their way to a receiver, in packets, by one task for each receiver.
//!
//! Whoever counts only puts a line into a queue that never makes it wait: where the receiver is away, or slower than we are, lines are
//! lost, as they are with SPIRE. A receiver that is away is looked for again, by its name, after a pause.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::settings::Destination;

/// Lines that wait (go-metrics).
const WAITING: usize = 4096;
/// How long a line may wait for others that fit into its packet (go-metrics, datadog-go).
const FLUSH: Duration = Duration::from_millis(100);
/// Pause before a receiver that was away is looked for again (go-metrics).
const PAUSE: Duration = Duration::from_secs(5);
/// Largest packet: what an Ethernet carries in one frame.
const MAX_UDP_LEN: usize = 1400;
/// Largest packet on a socket (datadog-go).
const MAX_UNIX_LEN: usize = 8192;
/// How long the last packet may take to leave when the program ends.
const LAST: Duration = Duration::from_millis(200);

/// The end where lines go in.
#[derive(Clone)]
pub(super) struct Queue(mpsc::Sender<String>);

impl Queue {
    /// Never waits.
    pub(super) fn push(&self, line: String) {
        let _lost = self.0.try_send(line);
    }
}

pub(super) fn queue() -> (Queue, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Queue(sender), receiver)
}

/// The end where they come out.
pub(super) struct Sender {
    to: Destination,
    lines: mpsc::Receiver<String>,
    packet: String,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Sender {
    pub(super) fn new(to: Destination, lines: mpsc::Receiver<String>) -> Self {
        Self { to, lines, packet: String::new() }
    }

    /// Sends until `stop` is cancelled, and what waits then.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut is_away = false;
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                connected = connect(&self.to) => connected,
                () = stop.cancelled() => return,
            };
            let failed = match connected {
                Ok(socket) => tokio::select! {
                    failed = self.send_all(&socket, &mut is_away) => failed,
                    () = stop.cancelled() => {
                        let _late = timeout(LAST, self.send_rest(&socket)).await;
                        return;
                    }
                },
                Err(error) => error,
            };
            if !std::mem::replace(&mut is_away, true) {
                tracing::warn!(to = %self.to, error = %failed, "Metrics can't be sent: they are lost until it works again");
            }
            self.packet.clear();
            tokio::select! {
                () = stop.cancelled() => return,
                _over = timeout(PAUSE, async { while self.lines.recv().await.is_some() {} }) => {}
            }
        }
    }

    /// Returns with the error that ends it.
    async fn send_all(&mut self, socket: &Socket, was_away: &mut bool) -> io::Error {
        loop {
            // The recorder lives as long as the process; without it there is nothing to send any more.
            let Some(line) = self.lines.recv().await else { return std::future::pending().await };
            self.packet.push_str(&line);
            let flush = Instant::now() + FLUSH;
            while let Ok(Some(line)) = timeout_at(flush, self.lines.recv()).await {
                if let Err(error) = self.add(socket, &line).await {
                    return error;
                }
            }
            if let Err(error) = self.flush(socket).await {
                return error;
            }
            if std::mem::take(was_away) {
                tracing::info!(to = %self.to, "Metrics are sent again");
            }
        }
    }

    async fn send_rest(&mut self, socket: &Socket) -> io::Result<()> {
        while let Ok(line) = self.lines.try_recv() {
            self.add(socket, &line).await?;
        }
        self.flush(socket).await
    }

    async fn add(&mut self, socket: &Socket, line: &str) -> io::Result<()> {
        if self.packet.len() + line.len() > socket.max_len() {
            self.flush(socket).await?;
        }
        self.packet.push_str(line);
        Ok(())
    }

    async fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        let packet = std::mem::take(&mut self.packet);
        if packet.is_empty() { Ok(()) } else { socket.send(packet.as_bytes()).await }
    }
}

impl Socket {
    fn max_len(&self) -> usize {
        match self {
            Self::Udp(_) => MAX_UDP_LEN,
            Self::Unix(_) => MAX_UNIX_LEN,
        }
    }

    async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let _whole = match self {
            Self::Udp(socket) => socket.send(packet).await?,
            Self::Unix(socket) => socket.send(packet).await?,
        };
        Ok(())
    }
}

async fn connect(to: &Destination) -> io::Result<Socket> {
    match to {
        Destination::Udp(address) => {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in resolve(address.clone()).await? {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await?;
                match socket.connect(address).await {
                    Ok(()) => return Ok(Socket::Udp(socket)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        Destination::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok(Socket::Unix(socket))
        }
    }
}

/// In a thread of its own, which a program that ends does not wait for: a name server can be away too.
async fn resolve(address: String) -> io::Result<Vec<SocketAddr>> {
    let (done, resolved) = oneshot::channel();
    std::thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        // Whoever asked may be gone.
        let _ = done.send(address.to_socket_addrs().map(Iterator::collect));
    })?;
    resolved.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
