//! Names and labels as SPIRE's exporter writes them, and which are kept (go-metrics: `allowMetric`, `labelIsAllowed`).

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};

use super::Program;
use crate::config::RawTelemetry;

/// Hands what is kept on to a recorder, under its full name.
pub(super) struct Named<R> {
    inner: R,
    prefix: String,
    labels: Vec<Label>,
    /// Prefixes of names with dots, and whether what begins so is kept; the longest that fits decides.
    prefixes: Vec<(String, bool)>,
    allowed_labels: Vec<String>,
    blocked_labels: Vec<String>,
}

impl<R> Named<R> {
    pub(super) fn new(inner: R, raw: &RawTelemetry, program: Program<'_>) -> Self {
        let list = |list: &Option<plastron_hcl1::Located<Vec<String>>>| {
            list.as_ref().map_or_else(Vec::new, |list| list.value.clone())
        };
        let prefix = raw.metric_prefix.as_ref().map(|prefix| prefix.value.as_str()).filter(|prefix| !prefix.is_empty());
        let mut labels = Vec::new();
        if raw.enable_trust_domain_label.as_ref().is_some_and(|enabled| enabled.value) {
            labels.push(Label::new("trust_domain", sanitize(program.trust_domain)));
        }
        if raw.enable_hostname_label.as_ref().is_none_or(|enabled| enabled.value) {
            labels.push(Label::new("host", rustix::system::uname().nodename().to_string_lossy().into_owned()));
        }
        // A prefix that is both is blocked.
        let prefixes = list(&raw.blocked_prefixes).into_iter().map(|prefix| (prefix, false));
        let prefixes = prefixes.chain(list(&raw.allowed_prefixes).into_iter().map(|prefix| (prefix, true))).collect();
        Self {
            inner,
            prefix: prefix.unwrap_or(program.prefix).to_owned(),
            labels,
            prefixes,
            allowed_labels: list(&raw.allowed_labels),
            blocked_labels: list(&raw.blocked_labels),
        }
    }

    /// The key under which it is shown; `None` if it is not kept.
    fn shown(&self, key: &Key) -> Option<Key> {
        let name = format!("{}.{}", self.prefix, key.name());
        let fits = self.prefixes.iter().filter(|(prefix, _)| name.starts_with(prefix));
        // The first of equals, so blocked wins.
        let longest = fits.rev().max_by_key(|(prefix, _)| prefix.len());
        if longest.is_some_and(|(_, kept)| !kept) {
            return None;
        }
        let own = key.labels().map(|label| Label::new(label.key().to_owned(), sanitize(label.value())));
        let labels = own.chain(self.labels.iter().cloned()).filter(|label| self.is_kept(label.key()));
        Some(Key::from_parts(sanitize(&name), labels.collect::<Vec<_>>()))
    }

    fn is_kept(&self, label: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|name| name == label);
        !is_in(&self.blocked_labels) && (self.allowed_labels.is_empty() || is_in(&self.allowed_labels))
    }
}

/// SPIRE's rule: what is no letter, digit or underscore becomes one, with the underscore that follows it.
fn sanitize(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut replaced = false;
    for c in text.chars() {
        let plain = c.is_ascii_alphanumeric() || c == '_';
        if plain && !(replaced && c == '_') {
            shown.push(c);
        } else if !plain && !replaced {
            shown.push('_');
        }
        replaced = !plain;
    }
    shown
}

impl<R: Recorder> Recorder for Named<R> {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.shown(key).map_or_else(Counter::noop, |key| self.inner.register_counter(&key, metadata))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.shown(key).map_or_else(Gauge::noop, |key| self.inner.register_gauge(&key, metadata))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.shown(key).map_or_else(Histogram::noop, |key| self.inner.register_histogram(&key, metadata))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program<'static> = Program { prefix: "spire_server", trust_domain: "example.org", version: "1" };

    fn shown(text: &str, name: &'static str, labels: &[(&'static str, &'static str)]) -> Option<String> {
        let raw: RawTelemetry = plastron_hcl1::from_str(text, "x").unwrap().0;
        let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        let key = Named::new((), &raw, PROGRAM).shown(&Key::from_parts(name, labels))?;
        let labels: Vec<String> = key
            .labels()
            .filter(|label| label.key() != "host")
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        Some(format!("{}{{{}}}", key.name(), labels.join(",")))
    }

    #[test]
    fn names_and_labels_are_written_as_spire_writes_them() {
        let seen =
            |text| shown(text, "rpc.svid.v1.svid.new_jwtsvid", &[("trust_domain_id", "a.org"), ("status", "OK")]);
        assert_eq!(seen("").unwrap(), "spire_server_rpc_svid_v1_svid_new_jwtsvid{trust_domain_id=a_org,status=OK}");
        assert_eq!(
            seen("MetricPrefix = \"x\" EnableTrustDomainLabel = true").unwrap(),
            "x_rpc_svid_v1_svid_new_jwtsvid{trust_domain_id=a_org,status=OK,trust_domain=example_org}"
        );
        assert_eq!(sanitize("1.16.0-dev__unk..x"), "1_16_0_dev__unk_x");
        assert_eq!(sanitize("a._b"), "a_b");
    }

    #[test]
    fn the_host_is_a_label_unless_it_is_switched_off() {
        for (text, with_host) in
            [("", true), ("EnableHostnameLabel = true", true), ("EnableHostnameLabel = false", false)]
        {
            let raw: RawTelemetry = plastron_hcl1::from_str(text, "x").unwrap().0;
            let key = Named::new((), &raw, PROGRAM).shown(&Key::from_name("x")).unwrap();
            assert_eq!(key.labels().any(|label| label.key() == "host"), with_host, "{text}");
        }
    }

    #[test]
    fn the_longest_prefix_decides_and_blocked_before_allowed() {
        let kept = |text: &str, name| shown(text, name, &[]).is_some();
        let rule = "BlockedPrefixes = [\"spire_server.rpc\", \"spire_server.x\"] \
                    AllowedPrefixes = [\"spire_server.rpc.agent\", \"spire_server.x\"]";
        assert!(!kept(rule, "rpc.svid"));
        assert!(kept(rule, "rpc.agent.v1"));
        assert!(!kept(rule, "x"));
        assert!(kept(rule, "other"));
    }

    #[test]
    fn labels_can_be_chosen() {
        let seen = |text| shown(text, "x", &[("attestor", "tpm"), ("status", "OK")]).unwrap();
        assert_eq!(seen("AllowedLabels = [\"status\"]"), "spire_server_x{status=OK}");
        assert_eq!(seen("BlockedLabels = [\"status\"]"), "spire_server_x{attestor=tpm}");
        assert_eq!(seen("AllowedLabels = [\"status\"] BlockedLabels = [\"status\"]"), "spire_server_x{}");
    }
}
