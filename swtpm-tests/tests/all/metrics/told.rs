//! What a program tells of itself: a page for Prometheus, and lines for statsd and DogStatsD, as the tests read them.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Head and body of what a listener on this port answers.
pub(crate) fn scrape(port: u16) -> (String, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The value of a metric that has these labels, whatever else it has.
pub(crate) fn value(body: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut lines = body
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label)));
    lines.next().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Name, type and names of labels of everything on a page: `counter spire_server_svid_rotate{host,status}`.
pub(crate) fn on_page(body: &str) -> BTreeSet<String> {
    let (mut found, mut kind, mut name) = (BTreeSet::new(), "", "");
    for line in body.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            (name, kind) = typed.split_once(' ').unwrap();
        } else if line.starts_with(name) && !line.starts_with('#') && !line.is_empty() {
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            let mut labels: Vec<&str> =
                labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0)).collect();
            labels.retain(|label| *label != "quantile");
            labels.sort_unstable();
            found.insert(format!("{kind} {name}{{{}}}", labels.join(",")));
        }
    }
    found
}

/// A receiver that keeps every line.
pub(crate) struct Receiver {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, lines) = (socket.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&lines);
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut packet = vec![0; 65536];
            while let Ok(len) = socket.recv(&mut packet) {
                let text = String::from_utf8_lossy(&packet[..len]).into_owned();
                kept.lock().unwrap().extend(text.lines().map(str::to_owned));
            }
        });
        Self { port, lines }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// A line of DogStatsD in the words of a page: `counter spire_server_svid_rotate{host,status}`.
pub(crate) fn dog_line(line: &str) -> String {
    let Dog { name, kind, tags, .. } = Dog::parse(line);
    let mut labels: Vec<&str> = tags.iter().map(|(label, _)| *label).collect();
    labels.sort_unstable();
    let kind = match kind {
        "c" => "counter",
        "g" => "gauge",
        "ms" => "summary",
        other => panic!("{other} in {line}"),
    };
    format!("{kind} {}{{{}}}", name.replace('.', "_"), labels.join(","))
}

/// The line for statsd that belongs to one for DogStatsD, without the value.
pub(crate) fn statsd_of(line: &str) -> String {
    let Dog { name, kind, tags, .. } = Dog::parse(line);
    let values: String = tags.iter().map(|(_, value)| format!(".{value}")).collect();
    format!("{name}{values} {kind}")
}

/// A line for statsd without its value, which has six decimals.
pub(crate) fn statsd_line(line: &str) -> String {
    let (name, rest) = line.split_once(':').unwrap();
    let (value, kind) = rest.split_once('|').unwrap();
    let decimals = value.split_once('.').unwrap_or_else(|| panic!("{line}")).1;
    assert!(decimals.len() == 6 && value.parse::<f64>().is_ok(), "{line}");
    format!("{name} {kind}")
}

struct Dog<'a> {
    name: &'a str,
    kind: &'a str,
    tags: Vec<(&'a str, &'a str)>,
}

impl<'a> Dog<'a> {
    fn parse(line: &'a str) -> Self {
        let (name, rest) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
        let (value, rest) = rest.split_once('|').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (kind, tags) = rest.split_once("|#").unwrap_or((rest, ""));
        let tags = tags.split(',').filter(|tag| !tag.is_empty());
        Self { name, kind, tags: tags.map(|tag| tag.split_once(':').unwrap_or((tag, ""))).collect() }
    }
}

/// Asks until it is so, for as long as anything may take.
pub(crate) fn eventually(mut is_so: impl FnMut() -> Result<(), String>) {
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    while let Err(why_not) = is_so() {
        assert!(std::time::Instant::now() < deadline, "{why_not}");
        std::thread::sleep(Duration::from_millis(300));
    }
}
