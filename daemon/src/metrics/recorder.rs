//! Names and labels as SPIRE's exporters write them, which are kept (go-metrics: `allowMetric`, `labelIsAllowed`), and who gets them.

use std::sync::Arc;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Label, Metadata, Recorder, SharedString,
    Unit,
};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::Program;
use super::settings::Naming;
use super::statsd::Lines;

/// Hands what is kept on, under its full name.
pub(super) struct Named {
    sinks: Vec<Sink>,
    prefix: String,
    labels: Vec<(String, String)>,
    /// Prefixes of names with dots, and whether what begins so is kept; the longest that fits decides.
    prefixes: Vec<(String, bool)>,
    allowed_labels: Vec<String>,
    blocked_labels: Vec<String>,
}

/// Who gets it.
pub(super) enum Sink {
    Prometheus(PrometheusRecorder),
    Lines(Lines),
}

/// What a metric is called, with dots, before a sink writes it in its own way.
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
}

impl Named {
    pub(super) fn new(sinks: Vec<Sink>, naming: &Naming, program: Program<'_>) -> Self {
        let mut labels = Vec::new();
        if naming.trust_domain_label {
            labels.push(("trust_domain".to_owned(), sanitize(program.trust_domain)));
        }
        if naming.hostname_label {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            labels.push(("host".to_owned(), host));
        }
        // A prefix that is both is blocked.
        let prefixes = naming.blocked_prefixes.iter().map(|prefix| (prefix.clone(), false));
        let prefixes = prefixes.chain(naming.allowed_prefixes.iter().map(|prefix| (prefix.clone(), true))).collect();
        Self {
            sinks,
            prefix: naming.prefix.as_deref().unwrap_or(program.prefix).to_owned(),
            labels,
            prefixes,
            allowed_labels: naming.allowed_labels.clone(),
            blocked_labels: naming.blocked_labels.clone(),
        }
    }

    /// `None` if it is not kept.
    fn kept(&self, key: &Key) -> Option<Kept> {
        let name = format!("{}.{}", self.prefix, key.name());
        let fits = self.prefixes.iter().filter(|(prefix, _)| name.starts_with(prefix));
        // The first of equals, so blocked wins.
        let longest = fits.rev().max_by_key(|(prefix, _)| prefix.len());
        if longest.is_some_and(|(_, kept)| !kept) {
            return None;
        }
        let own = key.labels().map(|label| (label.key().to_owned(), sanitize(label.value())));
        let labels = own.chain(self.labels.iter().cloned()).filter(|(label, _)| self.is_kept(label)).collect();
        Some(Kept { name, labels })
    }

    fn is_kept(&self, label: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|name| name == label);
        !is_in(&self.blocked_labels) && (self.allowed_labels.is_empty() || is_in(&self.allowed_labels))
    }
}

impl Kept {
    /// As Prometheus has it.
    fn key(&self) -> Key {
        let labels = self.labels.iter().map(|(name, value)| Label::new(name.clone(), value.clone()));
        Key::from_parts(sanitize(&self.name), labels.collect::<Vec<_>>())
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

/// One handle for each of several sinks.
struct Several<H>(Vec<H>);

macro_rules! register {
    ($self:ident, $key:ident, $metadata:ident, $handle:ident, $register:ident, $of_lines:ident) => {{
        let Some(kept) = $self.kept($key) else { return $handle::noop() };
        let handle = |sink: &Sink| match sink {
            Sink::Prometheus(recorder) => recorder.$register(&kept.key(), $metadata),
            Sink::Lines(lines) => lines.$of_lines(&kept),
        };
        match $self.sinks.as_slice() {
            [only] => handle(only),
            sinks => $handle::from_arc(Arc::new(Several(sinks.iter().map(handle).collect::<Vec<_>>()))),
        }
    }};
}

impl Recorder for Named {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        register!(self, key, metadata, Counter, register_counter, counter)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        register!(self, key, metadata, Gauge, register_gauge, gauge)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        register!(self, key, metadata, Histogram, register_histogram, histogram)
    }
}

impl CounterFn for Several<Counter> {
    fn increment(&self, times: u64) {
        self.0.iter().for_each(|counter| counter.increment(times));
    }

    fn absolute(&self, value: u64) {
        self.0.iter().for_each(|counter| counter.absolute(value));
    }
}

impl GaugeFn for Several<Gauge> {
    fn increment(&self, by: f64) {
        self.0.iter().for_each(|gauge| gauge.increment(by));
    }

    fn decrement(&self, by: f64) {
        self.0.iter().for_each(|gauge| gauge.decrement(by));
    }

    fn set(&self, value: f64) {
        self.0.iter().for_each(|gauge| gauge.set(value));
    }
}

impl HistogramFn for Several<Histogram> {
    fn record(&self, value: f64) {
        self.0.iter().for_each(|histogram| histogram.record(value));
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use plastron_hcl1::from_str;

    use super::super::sender::queue;
    use super::super::settings::{Form, TelemetrySettings};
    use super::*;
    use crate::config::RawTelemetry;

    const PROGRAM: Program<'static> = Program { prefix: "spire_server", trust_domain: "example.org", version: "1" };

    fn named(text: &str, sinks: Vec<Sink>) -> Named {
        let raw: RawTelemetry = from_str(text, "x").unwrap().0;
        Named::new(sinks, &TelemetrySettings::try_from(&raw).unwrap().naming, PROGRAM)
    }

    fn shown(text: &str, name: &'static str, labels: &[(&'static str, &'static str)]) -> Option<String> {
        let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        let key = named(text, Vec::new()).kept(&Key::from_parts(name, labels))?.key();
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
            let key = named(text, Vec::new()).kept(&Key::from_name("x")).unwrap().key();
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

    #[test]
    fn every_sink_gets_everything() {
        let prometheus = PrometheusBuilder::new().build_recorder();
        let handle = prometheus.handle();
        let ((statsd, mut statsd_lines), (dog, mut dog_lines)) = (queue(), queue());
        let sinks = vec![
            Sink::Prometheus(prometheus),
            Sink::Lines(Lines::new(Form::Statsd, statsd)),
            Sink::Lines(Lines::new(Form::DogStatsd, dog)),
        ];
        let text = "EnableHostnameLabel = false BlockedPrefixes = [\"spire_server.no\"]";
        metrics::with_local_recorder(&named(text, sinks), || {
            metrics::counter!("a.b", "status" => "OK").increment(3);
            let gauge = metrics::gauge!("c");
            gauge.set(2.0);
            gauge.increment(1.0);
            gauge.decrement(2.0);
            metrics::histogram!("d").record(7.0);
            metrics::counter!("no.one").increment(1);
        });
        let text = handle.render();
        let mut shown: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        shown.retain(|line| !line.contains("quantile"));
        shown.sort_unstable();
        let expected =
            ["spire_server_a_b{status=\"OK\"} 3", "spire_server_c 1", "spire_server_d_count 1", "spire_server_d_sum 7"];
        assert_eq!(shown, expected);
        let lines: Vec<String> = std::iter::from_fn(|| statsd_lines.try_recv().ok()).collect();
        let expected = ["a.b.OK:3.000000|c", "c:2.000000|g", "c:3.000000|g", "c:1.000000|g", "d:7.000000|ms"];
        assert_eq!(lines, expected.map(|line| format!("spire_server.{line}\n")));
        let lines: Vec<String> = std::iter::from_fn(|| dog_lines.try_recv().ok()).collect();
        let expected = ["a.b:3|c|#status:OK", "c:2|g", "c:3|g", "c:1|g", "d:7.000000|ms"];
        assert_eq!(lines, expected.map(|line| format!("spire_server.{line}\n")));
    }
}
