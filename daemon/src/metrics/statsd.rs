//! Lines for statsd and DogStatsd as SPIRE's sinks write them (hashicorp/go-metrics `statsd.go`, `datadog/dogstatsd.go`; DataDog/datadog-go
//! `statsd/format.go`): each event is one line at once, and nothing is added up here.
//!
//! statsd has no labels: their values follow the name. DogStatsd has tags. The clients on crates.io either add up and choose other
//! types, or have no name made of label values, so the few lines are written here.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn};

use super::recorder::Kept;
use super::sender::Queue;
use super::settings::Form;

/// One receiver, as a recorder sees it.
#[derive(Clone)]
pub(super) struct Lines {
    form: Form,
    queue: Queue,
}

/// One metric of it.
struct Line {
    form: Form,
    name: String,
    tags: String,
    queue: Queue,
    /// The last value of a gauge; held while it is sent, so that the last one sent is the last one set.
    gauge: Mutex<f64>,
}

impl Lines {
    pub(super) fn new(form: Form, queue: Queue) -> Self {
        Self { form, queue }
    }

    pub(super) fn counter(&self, kept: &Kept) -> Counter {
        Counter::from_arc(self.line(kept))
    }

    pub(super) fn gauge(&self, kept: &Kept) -> Gauge {
        Gauge::from_arc(self.line(kept))
    }

    pub(super) fn histogram(&self, kept: &Kept) -> Histogram {
        Histogram::from_arc(self.line(kept))
    }

    fn line(&self, Kept { name, labels }: &Kept) -> Arc<Line> {
        let (mut name, mut tags) = (plain(name), String::new());
        for (label, value) in labels {
            match self.form {
                Form::Statsd => {
                    name.push('.');
                    name.push_str(&plain(value));
                }
                Form::DogStatsd => {
                    tags.push_str(if tags.is_empty() { "|#" } else { "," });
                    tags.push_str(&plain(label));
                    if !value.is_empty() {
                        tags.push(':');
                        tags.push_str(&plain(value));
                    }
                }
            }
        }
        Arc::new(Line { form: self.form, name, tags, queue: self.queue.clone(), gauge: Mutex::new(0.0) })
    }
}

/// What would end a name or a tag becomes an underscore.
fn plain(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ':' | ' ' | '\n' | '|' | ',' | '#' | '@') { '_' } else { c }).collect()
}

impl Line {
    fn send(&self, value: impl FnOnce(&mut String), kind: &str) {
        let mut line = String::with_capacity(self.name.len() + self.tags.len() + 24);
        line.push_str(&self.name);
        line.push(':');
        value(&mut line);
        line.push('|');
        line.push_str(kind);
        line.push_str(&self.tags);
        line.push('\n');
        self.queue.push(line);
    }

    fn send_gauge(&self, value: f64) {
        self.send(
            |line| {
                // Writing to a string can't fail.
                let _ = match self.form {
                    Form::Statsd => write!(line, "{value:.6}"),
                    Form::DogStatsd => write!(line, "{value}"),
                };
            },
            "g",
        );
    }

    fn change(&self, to: impl FnOnce(f64) -> f64) {
        let mut gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        *gauge = to(*gauge);
        self.send_gauge(*gauge);
    }
}

impl CounterFn for Line {
    fn increment(&self, times: u64) {
        self.send(
            |line| {
                let _ = match self.form {
                    Form::Statsd => write!(line, "{times}.000000"),
                    Form::DogStatsd => write!(line, "{times}"),
                };
            },
            "c",
        );
    }

    /// No meter of ours counts so.
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Line {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }

    fn set(&self, value: f64) {
        self.change(|_before| value);
    }
}

impl HistogramFn for Line {
    fn record(&self, value: f64) {
        self.send(
            |line| {
                let _ = write!(line, "{value:.6}");
            },
            "ms",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::sender::queue;
    use super::*;

    /// What a receiver gets for one event of each kind.
    fn sent(form: Form) -> Vec<String> {
        let (queue, mut lines) = queue();
        let sink = Lines::new(form, queue);
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = vec![label("status", "OK"), label("trust_domain", "example_org"), label("host", "node 1.local")];
        let kept = Kept { name: "spire_server.rpc.svid.v1.svid.mint_jwtsvid".to_owned(), labels };
        sink.counter(&kept).increment(2);
        let gauge = sink.gauge(&Kept { name: "x.y".to_owned(), labels: vec![label("mode", "")] });
        gauge.set(5.5);
        gauge.increment(1.0);
        gauge.decrement(2.0);
        sink.histogram(&kept).record(1.0457731);
        std::iter::from_fn(|| lines.try_recv().ok()).collect()
    }

    #[test]
    fn statsd_gets_the_values_of_labels_behind_the_name() {
        assert_eq!(
            sent(Form::Statsd),
            [
                "spire_server.rpc.svid.v1.svid.mint_jwtsvid.OK.example_org.node_1.local:2.000000|c\n",
                "x.y.:5.500000|g\n",
                "x.y.:6.500000|g\n",
                "x.y.:4.500000|g\n",
                "spire_server.rpc.svid.v1.svid.mint_jwtsvid.OK.example_org.node_1.local:1.045773|ms\n",
            ]
        );
    }

    #[test]
    fn what_would_end_a_name_or_a_tag_becomes_an_underscore() {
        for c in [':', ' ', '\n', '|', ',', '#', '@'] {
            let kept = Kept { name: format!("a{c}b"), labels: vec![(format!("label{c}of"), format!("value{c}of"))] };
            for (form, line) in
                [(Form::Statsd, "a_b.value_of:1.000000|c\n"), (Form::DogStatsd, "a_b:1|c|#label_of:value_of\n")]
            {
                let (queue, mut lines) = queue();
                Lines::new(form, queue).counter(&kept).increment(1);
                assert_eq!(lines.try_recv().unwrap(), line, "{c:?}");
            }
        }
    }

    #[test]
    fn dog_statsd_gets_tags() {
        let tags = "status:OK,trust_domain:example_org,host:node_1.local";
        assert_eq!(
            sent(Form::DogStatsd),
            [
                format!("spire_server.rpc.svid.v1.svid.mint_jwtsvid:2|c|#{tags}\n"),
                "x.y:5.5|g|#mode\n".to_owned(),
                "x.y:6.5|g|#mode\n".to_owned(),
                "x.y:4.5|g|#mode\n".to_owned(),
                format!("spire_server.rpc.svid.v1.svid.mint_jwtsvid:1.045773|ms|#{tags}\n"),
            ]
        );
    }
}
