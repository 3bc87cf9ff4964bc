//! Which agents `list` and `count` mean.

use plastron_proto::spire::api::server::agent::v1::{count_agents_request, list_agents_request};
use plastron_proto::types::SelectorMatch;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::CliError;
use crate::arguments::{MatchOn, Tristate, selector};
use crate::output::quoted;

/// `2006-01-02 15:04:05 -0700 -07` in Go's notation.
const EXPIRES_BEFORE: &[BorrowedFormatItem<'_>] = format_description!(
    "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute] [offset_hour sign:mandatory]"
);

/// Filters; all that are given must hold.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// A colon-delimited type:value selector. Can be used more than once
    #[arg(long)]
    selector: Vec<String>,
    /// The match mode used when filtering by selectors
    #[arg(long = "matchSelectorsOn", value_enum, default_value = "superset")]
    match_selectors_on: MatchOn,
    /// Filter by attestation type, like join_token or tpm
    #[arg(long = "attestationType", default_value = "")]
    attestation_type: String,
    /// 'true': agents that can reattest, 'false': agents that can't, another value: all
    #[arg(long = "canReattest", default_value = "", value_parser = Tristate::parse)]
    can_reattest: Tristate,
    /// 'true': banned agents, 'false': agents that are not banned, another value: all
    #[arg(long, default_value = "", value_parser = Tristate::parse)]
    banned: Tristate,
    /// Filter by expiration time (format: "2006-01-02 15:04:05 -0700 -07")
    #[arg(long = "expiresBefore", default_value = "")]
    expires_before: String,
}

impl FilterArgs {
    pub(super) fn list(&self) -> Result<list_agents_request::Filter, CliError> {
        Ok(list_agents_request::Filter {
            by_attestation_type: self.attestation_type.clone(),
            by_selector_match: self.selectors()?,
            by_banned: self.banned.filter(),
            by_can_reattest: self.can_reattest.filter(),
            by_expires_before: self.expires_before()?,
        })
    }

    pub(super) fn count(&self) -> Result<count_agents_request::Filter, CliError> {
        let list_agents_request::Filter {
            by_attestation_type,
            by_selector_match,
            by_banned,
            by_can_reattest,
            by_expires_before,
        } = self.list()?;
        Ok(count_agents_request::Filter {
            by_attestation_type,
            by_selector_match,
            by_banned,
            by_can_reattest,
            by_expires_before,
        })
    }

    fn selectors(&self) -> Result<Option<SelectorMatch>, CliError> {
        if self.selector.is_empty() {
            return Ok(None);
        }
        let selectors = self.selector.iter().map(|text| {
            let parsing = |error| CliError::Value(format!("error parsing selector {}: {error}", quoted(text)));
            selector(text).map_err(parsing)
        });
        let selectors = selectors.collect::<Result<_, _>>()?;
        Ok(Some(SelectorMatch { selectors, r#match: self.match_selectors_on.selectors().into() }))
    }

    fn expires_before(&self) -> Result<String, CliError> {
        let text = &self.expires_before;
        if text.is_empty() || time::OffsetDateTime::parse(text, EXPIRES_BEFORE).is_ok() {
            return Ok(text.clone());
        }
        Err(CliError::Date { text: text.clone() })
    }
}
