//! SPIRE's programs and ours do the same and are told of in the same words: names, types and labels on the page for Prometheus and in lines
//! for DogStatsD, and the lines for statsd that belong to those. `differences.txt` explains what differs; what it names and does not
//! differ any more fails too.

use std::collections::BTreeSet;
use std::path::Path;

use plastron_swtpm_tests::{
    Attestor, HarnessError, ServerOptions, Spire, SpireAgent, SpireServer, SpireServerOptions, TRUST_DOMAIN, TestAgent,
    TestServer, Upstream,
};

use crate::metrics::told::{Receiver, dog_line, eventually, free_port, on_page, scrape, statsd_line, statsd_of};

/// What is told, and what differs.
const DIFFERENCES: &str = include_str!("metrics/differences.txt");

/// One program's three sinks.
struct Sinks {
    page: u16,
    dog: Receiver,
    statsd: Receiver,
}

impl Sinks {
    fn start() -> Self {
        Self { page: free_port(), dog: Receiver::start(), statsd: Receiver::start() }
    }

    /// The rest of a file whose last block is closed behind it.
    fn block(&self) -> String {
        format!(
            "telemetry {{ Prometheus {{ port = {} }} DogStatsd = [{{ address = \"{}\" }}] Statsd = [{{ address = \"{}\" }}]",
            self.page,
            self.dog.address(),
            self.statsd.address()
        )
    }

    fn on_page(&self) -> BTreeSet<String> {
        on_page(&scrape(self.page).1)
    }

    fn dog(&self) -> BTreeSet<String> {
        self.dog.lines().iter().map(|line| dog_line(line)).collect()
    }

    /// Every line for DogStatsD has its line for statsd, and there are no others.
    fn check_statsd(&self, house: &str) {
        let is_own = |line: &String| line.starts_with("datadog.");
        eventually(|| {
            let of_dog = self.dog.lines();
            let expected: BTreeSet<String> =
                of_dog.iter().filter(|line| !is_own(line)).map(|line| statsd_of(line)).collect();
            let got: BTreeSet<String> = self.statsd.lines().iter().map(|line| statsd_line(line)).collect();
            let difference: Vec<_> = expected.symmetric_difference(&got).collect();
            difference.is_empty().then_some(()).ok_or_else(|| format!("{house}: {difference:#?}"))
        });
    }
}

/// Both programs of one house, and what they told.
struct House {
    server: Sinks,
    agent: Sinks,
    _running: Box<dyn std::any::Any>,
}

/// What a command line of a server or an agent prints.
type Cli<'a> = &'a dyn Fn(&[&str]) -> Result<std::process::Output, HarnessError>;

fn ours() -> House {
    let (on_server, on_agent) = (Sinks::start(), Sinks::start());
    let blocks = format!("{} }}", on_server.block());
    let server = TestServer::start(ServerOptions { blocks, ..ServerOptions::default() }).unwrap();
    let token = server.join_token().unwrap();
    let (bundle, lines) = (server.bundle_file(), format!("}}\n{}", on_agent.block()));
    let upstream = Upstream { lines: &lines, ..server.upstream(&bundle) };
    let agent = TestAgent::start_at(&upstream, &Attestor::JoinToken(token.clone())).unwrap();
    work(TRUST_DOMAIN, &token, &bundle, &|arguments| server.cli(arguments), &|arguments| agent.cli(arguments));
    House { server: on_server, agent: on_agent, _running: Box::new((server, agent)) }
}

fn theirs(spire: &Spire) -> House {
    let (on_server, on_agent) = (Sinks::start(), Sinks::start());
    let server_lines = format!("}}\n{}", on_server.block());
    let options =
        SpireServerOptions { trust_domain: TRUST_DOMAIN.to_owned(), server_lines, ..SpireServerOptions::default() };
    let server = SpireServer::start(spire, options).unwrap();
    let token = server.join_token().unwrap();
    let (bundle, lines) = (server.bundle_file(), format!("}}\n{}", on_agent.block()));
    let agent =
        SpireAgent::start(spire, &server.upstream(&bundle, &lines), &Attestor::JoinToken(token.clone())).unwrap();
    work(TRUST_DOMAIN, &token, &bundle, &|arguments| server.cli(arguments), &|arguments| agent.cli(arguments));
    House { server: on_server, agent: on_agent, _running: Box::new((server, agent)) }
}

/// What both houses do.
fn work(trust_domain: &str, token: &str, bundle: &Path, server: Cli<'_>, agent: Cli<'_>) {
    let id = |path: &str| format!("spiffe://{trust_domain}{path}");
    let (node, workload) = (id(&format!("/spire/agent/join_token/{token}")), id("/workload"));
    let selector = format!("unix:uid:{}", rustix::process::getuid().as_raw());
    let entry = ["-parentID", &node, "-spiffeID", &workload, "-selector", &selector];
    let created = server(&[&["entry", "create", "-output", "json"], entry.as_slice()].concat()).unwrap();
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).unwrap();
    let entry_id = created["results"][0]["entry"]["id"].as_str().unwrap().to_owned();
    let fetched = |agent: Cli<'_>, arguments: &[&str]| {
        eventually(|| agent(arguments).map(|_| ()).map_err(|error| format!("{arguments:?}: {error}")));
    };
    fetched(agent, &["api", "fetch", "x509"]);
    fetched(agent, &["api", "fetch", "jwt", "-audience", "a"]);
    agent(&["api", "validate", "jwt", "-audience", "a", "-svid", "no-token"]).unwrap_err();
    // Another revision, which the agent has signed anew.
    server(&[&["entry", "update", "-entryID", &entry_id, "-dns", "a.example"], entry.as_slice()].concat()).unwrap();
    eventually(|| {
        let shown = agent(&["api", "fetch", "x509", "-output", "json"]).map_err(|error| error.to_string())?;
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let svid = shown["svids"][0]["x509_svid"].as_str().unwrap().to_owned();
        // DER in base64, whose six bits have three ways to hold the name: long enough is another certificate.
        ["YS5leGFtcGxl", "EuZXhhbXBsZ", "hLmV4YW1wbG"]
            .iter()
            .any(|name| svid.contains(name))
            .then_some(())
            .ok_or_else(|| "no SVID of the entry as it is now".to_owned())
    });
    server(&["entry", "show"]).unwrap();
    server(&["entry", "count"]).unwrap();
    server(&["agent", "list"]).unwrap();
    server(&["agent", "count"]).unwrap();
    server(&["agent", "show", "-spiffeID", &node]).unwrap();
    server(&["bundle", "show"]).unwrap();
    server(&["bundle", "count"]).unwrap();
    server(&["bundle", "list"]).unwrap();
    let file = bundle.display().to_string();
    server(&["bundle", "set", "-id", "spiffe://other.example", "-path", &file]).unwrap();
    server(&["bundle", "delete", "-id", "spiffe://other.example"]).unwrap();
    server(&["federation", "list"]).unwrap();
    server(&["jwt", "mint", "-spiffeID", &workload, "-audience", "a"]).unwrap();
    server(&["x509", "mint", "-spiffeID", &workload]).unwrap();
    server(&["localauthority", "x509", "show"]).unwrap();
    server(&["logger", "get"]).unwrap();
    server(&["healthcheck"]).unwrap();
    agent(&["healthcheck"]).unwrap();
    server(&["entry", "delete", "-entryID", &entry_id]).unwrap();
    eventually(|| match agent(&["api", "fetch", "x509"]) {
        Ok(_) => Err("the entry is still served".to_owned()),
        Err(_) => Ok(()),
    });
}

/// A line of the file: `<` where only SPIRE has it, `>` where only we do; a star at the end stands for anything, `any` for every type, and a call is a
/// counter and a sample of its time.
struct Difference {
    theirs: bool,
    what: String,
}

fn differences(sink: &str, program: &str) -> Vec<Difference> {
    let lines = DIFFERENCES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (what, reason) = line.split_once("  ").unwrap_or_else(|| panic!("{line:?} has no reason"));
        assert!(!reason.trim().is_empty(), "{line:?} has no reason");
        let words: Vec<&str> = what.splitn(4, ' ').collect();
        let [programs, sinks, side @ ("<" | ">"), what] = words.as_slice() else { panic!("{line:?}") };
        (*programs, *sinks, Difference { theirs: *side == "<", what: (*what).to_owned() })
    });
    let fits = |of: &str, it: &str| of == "both" || of == it;
    let fitting = parsed.filter(|(programs, sinks, _)| fits(programs, program) && fits(sinks, sink));
    fitting.map(|(_, _, difference)| difference).collect()
}

impl Difference {
    fn covers(&self, told: &str) -> bool {
        if let Some((name, labels)) = self.what.strip_prefix("call ").and_then(|call| call.split_once('{')) {
            let (counter, sample) =
                (format!("counter {name}{{{labels}"), format!("summary {name}_elapsed_time{{{labels}"));
            return [counter, sample].iter().any(|of_call| of_call == told);
        }
        if let Some(begin) = self.what.strip_prefix("any ").and_then(|any| any.strip_suffix('*')) {
            return told.split_once(' ').is_some_and(|(_kind, name)| name.starts_with(begin));
        }
        match self.what.strip_suffix('*') {
            Some(begin) => told.starts_with(begin),
            None => told == self.what,
        }
    }
}

/// What differs and is not explained, and what is explained and does not differ.
fn unexplained(sink: &str, program: &str, theirs: &BTreeSet<String>, ours: &BTreeSet<String>) -> Vec<String> {
    let differences = differences(sink, program);
    let mut faults = Vec::new();
    for (is_theirs, here, there) in [(true, theirs, ours), (false, ours, theirs)] {
        let mark = if is_theirs { "<" } else { ">" };
        let explained: Vec<&Difference> = differences.iter().filter(|it| it.theirs == is_theirs).collect();
        let only: Vec<&String> = here.difference(there).collect();
        let is_news = |told: &&&String| !explained.iter().any(|it| it.covers(told));
        faults.extend(only.iter().filter(is_news).map(|told| format!("{program} {sink} {mark} {told}")));
        let is_stale = |it: &&&Difference| !only.iter().any(|told| it.covers(told));
        faults
            .extend(explained.iter().filter(is_stale).map(|it| format!("not so: {program} {sink} {mark} {}", it.what)));
    }
    faults
}

/// What is explained is looked for: where nothing is told, nothing is as the file says.
#[test]
fn an_explanation_of_what_does_not_differ_is_a_fault() {
    for (program, sink) in [("server", "page"), ("server", "dog"), ("agent", "page"), ("agent", "dog")] {
        let faults = unexplained(sink, program, &BTreeSet::new(), &BTreeSet::new());
        assert_eq!(faults.len(), differences(sink, program).len());
        assert!(!faults.is_empty() && faults.iter().all(|fault| fault.starts_with("not so: ")), "{faults:?}");
    }
}

#[test]
fn both_houses_tell_the_same_of_the_same() {
    let Some(spire) = Spire::from_env() else { return };
    let (theirs, ours) = (theirs(&spire), ours());
    eventually(|| {
        let mut faults = Vec::new();
        for (program, theirs, ours) in [("server", &theirs.server, &ours.server), ("agent", &theirs.agent, &ours.agent)]
        {
            faults.extend(unexplained("page", program, &theirs.on_page(), &ours.on_page()));
            faults.extend(unexplained("dog", program, &theirs.dog(), &ours.dog()));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    });
    for (house, sinks) in [("SPIRE", [&theirs.server, &theirs.agent]), ("ours", [&ours.server, &ours.agent])] {
        sinks.into_iter().for_each(|sinks| sinks.check_statsd(house));
    }
}
