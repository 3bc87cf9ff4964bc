//! Which entries `show` and `count` mean.

use plastron_proto::spire::api::server::entry::v1::{count_entries_request, list_entries_request};
use plastron_proto::types::{FederatesWithMatch, SelectorMatch};

use crate::CliError;
use crate::arguments::{MatchOn, go_bool, selector, spiffe_id};

/// Filters; all that are given must hold.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// The Parent ID of the records
    #[arg(long = "parentID", default_value = "")]
    parent_id: String,
    /// The SPIFFE ID of the records
    #[arg(long = "spiffeID", default_value = "")]
    spiffe_id: String,
    /// Only entries that describe a downstream server
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    downstream: bool,
    /// A colon-delimited type:value selector. Can be used more than once
    #[arg(long)]
    selector: Vec<String>,
    /// SPIFFE ID of a trust domain an entry is federate with. Can be used more than once
    #[arg(long = "federatesWith")]
    federates_with: Vec<String>,
    /// The match mode used when filtering by federates with
    #[arg(long = "matchFederatesWithOn", value_enum, default_value = "superset")]
    match_federates_with_on: MatchOn,
    /// The match mode used when filtering by selectors
    #[arg(long = "matchSelectorsOn", value_enum, default_value = "superset")]
    match_selectors_on: MatchOn,
    /// The Hint of the records (optional)
    #[arg(long, default_value = "")]
    hint: String,
}

impl FilterArgs {
    /// Whether `-entryID` may stand beside them.
    pub(super) fn is_empty(&self) -> bool {
        self.parent_id.is_empty() && self.spiffe_id.is_empty() && self.selector.is_empty()
    }

    pub(super) fn list(&self) -> Result<list_entries_request::Filter, CliError> {
        let id = |what, text: &str| if text.is_empty() { Ok(None) } else { spiffe_id(what, text).map(Some) };
        let by_selectors = if self.selector.is_empty() {
            None
        } else {
            let selectors = self.selector.iter().map(|text| selector(text)).collect::<Result<_, _>>();
            let selectors = selectors.map_err(|error| CliError::Value(format!("error parsing selectors: {error}")))?;
            Some(SelectorMatch { selectors, r#match: self.match_selectors_on.selectors().into() })
        };
        let by_federates_with = (!self.federates_with.is_empty()).then(|| FederatesWithMatch {
            trust_domains: self.federates_with.clone(),
            r#match: self.match_federates_with_on.trust_domains().into(),
        });
        Ok(list_entries_request::Filter {
            by_spiffe_id: id("SPIFFE ID", &self.spiffe_id)?,
            by_parent_id: id("parent ID", &self.parent_id)?,
            by_selectors,
            by_federates_with,
            by_hint: (!self.hint.is_empty()).then(|| self.hint.clone()),
            by_downstream: Some(self.downstream),
        })
    }

    pub(super) fn count(&self) -> Result<count_entries_request::Filter, CliError> {
        let list_entries_request::Filter {
            by_spiffe_id,
            by_parent_id,
            by_selectors,
            by_federates_with,
            by_hint,
            by_downstream,
        } = self.list()?;
        Ok(count_entries_request::Filter {
            by_spiffe_id,
            by_parent_id,
            by_selectors,
            by_federates_with,
            by_hint,
            by_downstream,
        })
    }
}
