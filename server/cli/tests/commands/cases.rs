//! The commands that are tried, and what is known to differ from SPIRE's program.

use std::path::Path;

use crate::fake::World;
use crate::worlds::{empty, failing, full, halves, refusing, unknown};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) world: fn() -> World,
    /// The words after the program's name; single quotes keep words together, and `{dir}` is an empty directory.
    pub(crate) line: &'static str,
    /// Standard input.
    pub(crate) input: &'static str,
    /// Why SPIRE's program does otherwise.
    pub(crate) differs: Option<&'static str>,
}

impl Case {
    pub(crate) fn arguments(&self, dir: &Path) -> Vec<String> {
        let mut words = Vec::new();
        for (index, part) in self.line.replace("{dir}", dir.to_str().unwrap()).split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }
}

fn case(name: &'static str, world: fn() -> World, line: &'static str) -> Case {
    Case { name, world, line, input: "", differs: None }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for line in VERBS {
        all.push(case("full", full, line));
    }
    for line in WITH_JSON {
        all.push(case("full", full, line));
        all.push(case("nothing there", empty, line));
    }
    for line in BATCHES {
        all.push(case("refused items", failing, line));
    }
    for line in HALVES {
        all.push(case("halves", halves, line));
    }
    for line in CALLS {
        all.push(case("refused calls", refusing, line));
    }
    for line in
        ["federation refresh -id other.test", "agent show -spiffeID spiffe://example.org/a", "entry show -entryID e"]
    {
        all.push(case("unknown", unknown, line));
    }
    for line in USAGE {
        all.push(case("usage", full, line));
    }
    for (line, input, world) in INPUT {
        all.push(Case { input, ..case("standard input", *world, line) });
    }
    for (line, why) in DIFFERENT {
        all.push(Case { differs: Some(why), ..case("known to differ", full, line) });
    }
    all
}

/// Each verb that prints the same at every run.
const VERBS: &[&str] = &[
    "agent show -spiffeID spiffe://example.org/spire/agent/x509pop/def",
    "agent show -spiffeID spiffe://example.org/spire/agent/x509pop/def -output json",
    "agent ban -spiffeID spiffe://example.org/spire/agent/x509pop/def",
    "agent ban -spiffeID spiffe://example.org/spire/agent/x509pop/def -output json",
    "agent evict -spiffeID spiffe://example.org/spire/agent/x509pop/def",
    "agent evict -spiffeID spiffe://example.org/spire/agent/x509pop/def -output json",
    "agent list -attestationType join_token -canReattest true -banned false -selector a:b:c -selector d: -matchSelectorsOn exact",
    "agent list -canReattest false -banned true -selector a:b -matchSelectorsOn any",
    "agent list -canReattest maybe -banned maybe -selector a:b -matchSelectorsOn subset",
    "agent list -expiresBefore '2026-01-02 15:04:05 +0000 +00'",
    "agent count -attestationType x509pop -canReattest=true -banned=false -selector a:b -expiresBefore '2026-01-02 15:04:05 -0500 -05'",
    "agent purge",
    "agent purge -output json",
    "agent purge -expiredFor 1h -dryRun",
    "agent purge -expiredFor 1h -dryRun -output json",
    "agent purge -expiredFor 1h",
    "agent purge -expiredFor=0 -dryRun=false -output json",
    "bundle show -format spiffe",
    "bundle show -format PEM",
    "bundle show -format spiffe -output json",
    "bundle list -format spiffe",
    "bundle list -id spiffe://other.test",
    "bundle list -id other.test -format spiffe",
    "bundle list -id other.test -output json",
    "bundle set -id spiffe://other.test -path tests/commands/ca.pem",
    "bundle set -id spiffe://other.test -path tests/commands/ca.pem -output json",
    "bundle set -id other.test -path tests/commands/bundle.json -format spiffe",
    "bundle delete -id other.test",
    "bundle delete -id spiffe://other.test -mode dissociate",
    "bundle delete -id other.test -mode delete -output json",
    "entry show -entryID e-2",
    "entry show -entryID e-2 -output json",
    "entry create -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1",
    "entry create -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1 -output json",
    "entry create -node -spiffeID spiffe://example.org/db -selector tpm:pool:lab",
    "entry create -node=false -parentID spiffe://example.org/node -spiffeID spiffe://example.org/db -selector a:b -admin=true -downstream=T",
    "entry create -data tests/commands/entries.json",
    "entry update -data tests/commands/entries.json -output json",
    "entry delete -entryID e-1",
    "entry delete -entryID e-1 -output json",
    "entry delete -file tests/commands/ids.json",
    "federation create -trustDomain other.test -bundleEndpointURL https://other.test/bundle -bundleEndpointProfile https_web",
    "federation create -trustDomain other.test -bundleEndpointURL https://other.test/bundle -bundleEndpointProfile https_web -output json",
    "federation create -trustDomain third.test -bundleEndpointURL https://third.test:8443 -bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://third.test/spire/server -trustDomainBundlePath tests/commands/ca.pem",
    "federation create -trustDomain third.test -bundleEndpointURL https://third.test:8443 -bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://third.test/spire/server -trustDomainBundlePath tests/commands/bundle.json -trustDomainBundleFormat spiffe",
    "federation create -data tests/commands/relationships.json -output json",
    "federation update -trustDomain third.test -bundleEndpointURL https://third.test:8443 -bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://third.test/spire/server",
    "federation update -trustDomain other.test -bundleEndpointURL https://other.test/bundle -bundleEndpointProfile https_web -output json",
    "federation delete -id other.test",
    "federation delete -id other.test -output json",
    "federation show -trustDomain third.test",
    "federation show -trustDomain third.test -output json",
    "federation refresh -id other.test",
    "federation refresh -id other.test -output json",
    "token generate",
    "token generate -ttl 60 -spiffeID spiffe://example.org/node",
    "token generate -output json",
    "jwt mint -spiffeID spiffe://example.org/web -audience a -audience b -ttl 90s",
    "jwt mint -spiffeID spiffe://example.org/web -audience a,b -ttl 1m0.5s -output json",
    "jwt mint -spiffeID spiffe://example.org/web -audience a -write {dir}/token",
    "x509 mint -spiffeID spiffe://example.org/web -dns a.example.org -dns b.example.org -ttl 1h",
    "x509 mint -spiffeID spiffe://example.org/web -output json",
    "x509 mint -spiffeID spiffe://example.org/web -write {dir}",
    "localauthority x509 prepare",
    "localauthority x509 prepare -output json",
    "localauthority x509 activate -authorityID ab12",
    "localauthority x509 activate -authorityID ab12 -output json",
    "localauthority x509 taint -authorityID ab12",
    "localauthority x509 revoke -authorityID ab12",
    "localauthority x509 revoke -authorityID ab12 -output json",
    "localauthority jwt prepare",
    "localauthority jwt activate -authorityID ab12",
    "localauthority jwt taint -authorityID ab12",
    "localauthority jwt taint -authorityID ab12 -output json",
    "localauthority jwt revoke -authorityID ab12",
    "upstreamauthority taint -subjectKeyID cd34",
    "upstreamauthority taint -subjectKeyID cd34 -output json",
    "upstreamauthority revoke -subjectKeyID cd34",
    "upstreamauthority revoke -subjectKeyID cd34 -output json",
    "logger get",
    "logger get -output json",
    "logger set -level DEBUG",
    "logger set -level warning -output json",
    "logger reset",
    "logger reset -output json",
    "healthcheck",
    "healthcheck -shallow",
    "healthcheck -verbose",
    // Go's flags: two dashes, `=`, the last of two, a value that looks like a flag, what stands after the first word that is no flag.
    "agent count --output=json",
    "agent count -output JSON",
    "agent count -output prettyprint",
    "agent list -attestationType a -attestationType b",
    "agent list -attestationType -output",
    "agent count these -output json",
    "agent count -- -output json",
    "agent count -banned= -output json",
];

/// Lists and counts, full and empty.
const WITH_JSON: &[&str] = &[
    "agent list",
    "agent list -output json",
    "agent count",
    "agent count -output json",
    "bundle show",
    "bundle show -output json",
    "bundle list",
    "bundle list -output json",
    "bundle count",
    "bundle count -output json",
    "entry show",
    "entry show -output json",
    "entry count",
    "entry count -output json",
    "federation list",
    "federation list -output json",
    "localauthority x509 show",
    "localauthority x509 show -output json",
    "localauthority jwt show",
    "localauthority jwt show -output json",
    "debug getinfo",
    "debug getinfo -output json",
];

const BATCHES: &[&str] = &[
    "bundle set -id spiffe://other.test -path tests/commands/ca.pem",
    "bundle set -id spiffe://other.test -path tests/commands/ca.pem -output json",
    "bundle delete -id other.test",
    "bundle delete -id other.test -output json",
    "entry create -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1",
    "entry create -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1 -output json",
    "entry update -entryID e-1 -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1",
    "entry delete -entryID e-1",
    "entry delete -entryID e-1 -output json",
    "federation create -data tests/commands/relationships.json",
    "federation create -data tests/commands/relationships.json -output json",
    "federation update -trustDomain third.test -bundleEndpointURL https://third.test:8443 -bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://third.test/spire/server",
    "federation delete -id other.test",
    "federation delete -id other.test -output json",
];

const HALVES: &[&str] = &[
    "agent list",
    "agent list -output json",
    "entry show",
    "entry delete -file tests/commands/ids.json",
    "entry delete -file tests/commands/ids.json -output json",
];

/// Every verb, refused.
const CALLS: &[&str] = &[
    "agent list",
    "agent list -output json",
    "agent count",
    "agent show -spiffeID spiffe://example.org/a",
    "agent ban -spiffeID spiffe://example.org/a",
    "agent evict -spiffeID spiffe://example.org/a",
    "agent purge",
    "bundle show",
    "bundle list",
    "bundle list -id other.test",
    "bundle count",
    "bundle set -id other.test -path tests/commands/ca.pem",
    "bundle delete -id other.test",
    "debug getinfo",
    "entry show",
    "entry show -entryID e-1",
    "entry count",
    "entry create -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1",
    "entry update -entryID e-1 -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1",
    "entry update -entryID e-1 -spiffeID spiffe://example.org/db -parentID spiffe://example.org/node -selector unix:uid:1 -jwtSVIDIncludeJTI",
    "entry delete -entryID e-1",
    "federation create -trustDomain other.test -bundleEndpointURL https://other.test/bundle -bundleEndpointProfile https_web",
    "federation update -trustDomain other.test -bundleEndpointURL https://other.test/bundle -bundleEndpointProfile https_web",
    "federation delete -id other.test",
    "federation list",
    "federation show -trustDomain other.test",
    "federation refresh -id other.test",
    "localauthority x509 show",
    "localauthority x509 prepare",
    "localauthority x509 activate -authorityID ab12",
    "localauthority x509 taint -authorityID ab12",
    "localauthority x509 revoke -authorityID ab12",
    "localauthority jwt show",
    "localauthority jwt prepare",
    "localauthority jwt activate -authorityID ab12",
    "localauthority jwt taint -authorityID ab12",
    "localauthority jwt revoke -authorityID ab12",
    "upstreamauthority taint -subjectKeyID cd34",
    "upstreamauthority revoke -subjectKeyID cd34",
    "logger get",
    "logger set -level info",
    "logger reset",
    "token generate",
    "jwt mint -spiffeID spiffe://example.org/web -audience a",
    "x509 mint -spiffeID spiffe://example.org/web",
];

/// What is refused before any call.
const USAGE: &[&str] = &[
    "agent show",
    "agent ban",
    "agent evict",
    "agent list -selector none",
    "bundle set",
    "bundle delete",
    "entry create",
    "entry create -selector a:b",
    "entry create -selector a:b -parentID spiffe://example.org/node",
    "entry create -selector a:b -node -federatesWith other.test -spiffeID spiffe://example.org/db",
    "entry create -selector a:b -node -spiffeID spiffe://example.org/db -x509SVIDTTL -1",
    "entry create -selector a:b -node -spiffeID spiffe://example.org/db -jwtSVIDTTL=-1",
    "entry update",
    "entry update -entryID e-1",
    "entry update -entryID e-1 -selector a:b",
    "entry update -entryID e-1 -selector a:b -parentID spiffe://example.org/node",
    "entry delete",
    "entry show -entryID e-1 -spiffeID spiffe://example.org/db",
    "federation create",
    "federation create -trustDomain other.test",
    "federation create -trustDomain other.test -bundleEndpointURL https://other.test/bundle",
    "federation create -trustDomain other.test -bundleEndpointURL https://other.test/bundle -bundleEndpointProfile https_spiffe",
    "federation create -trustDomain other.test -bundleEndpointURL https://other.test/bundle -bundleEndpointProfile other",
    "federation create -trustDomain other.test -data tests/commands/relationships.json",
    "federation delete",
    "federation show",
    "federation refresh",
    "jwt mint",
    "jwt mint -spiffeID spiffe://example.org/web",
    "x509 mint",
    "localauthority x509 activate",
    "localauthority jwt revoke",
    "upstreamauthority taint",
    "upstreamauthority revoke",
    "logger set",
    "logger set -level loud",
];

type Input = (&'static str, &'static str, fn() -> World);

const INPUT: &[Input] = &[
    ("bundle set -id other.test", include_str!("ca.pem"), full),
    ("bundle set -id other.test -format spiffe", include_str!("bundle.json"), full),
    ("entry create -data -", include_str!("entries.json"), full),
    ("entry update -data -", include_str!("entries.json"), full),
    ("entry delete -file -", include_str!("ids.json"), halves),
    ("federation create -data -", include_str!("relationships.json"), failing),
];

/// Ours does otherwise on purpose.
const DIFFERENT: &[(&str, &str)] = &[
    ("agent show -spiffeID none", "ours says which argument is no SPIFFE ID, and why"),
    ("agent list -bogus", "ours does not print all flags with the error"),
    ("agent list -matchSelectorsOn none", "ours refuses it where no selector is given, too"),
    ("agent list -expiresBefore tomorrow", "ours says what form a date has"),
    ("bundle set -id other.test -path /nonexistent", "ours names the file once"),
    ("entry create -data /nonexistent", "ours says that it can't be read"),
    (
        "jwt mint -spiffeID spiffe://example.org/web -audience a -ttl -1s",
        "ours refuses a lifetime that SPIRE takes for the default",
    ),
];
