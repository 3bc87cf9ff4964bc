//! The flags that describe one entry, as `create` and `update` take them.

use plastron_proto::types::{Entry, Spiffeid, entry::AdditionalAttributes};

use crate::CliError;
use crate::arguments::{go_bool, selector, spiffe_id};

/// One entry in flags.
#[derive(Debug, clap::Args)]
pub(super) struct EntryFlags {
    /// An ID for this registration entry. For `create`: optional; if not set, a new entry ID will be generated
    #[arg(long = "entryID", default_value = "")]
    pub(super) entry_id: String,
    /// The SPIFFE ID of this record's parent
    #[arg(long = "parentID", default_value = "")]
    pub(super) parent_id: String,
    /// The SPIFFE ID that this record represents
    #[arg(long = "spiffeID", default_value = "")]
    spiffe_id: String,
    /// A colon-delimited type:value selector. Can be used more than once
    #[arg(long)]
    selector: Vec<String>,
    /// The lifetime, in seconds, for X.509-SVIDs issued based on this registration entry
    #[arg(long = "x509SVIDTTL", default_value_t = 0, allow_negative_numbers = true)]
    x509_svid_ttl: i32,
    /// The lifetime, in seconds, for JWT-SVIDs issued based on this registration entry
    #[arg(long = "jwtSVIDTTL", default_value_t = 0, allow_negative_numbers = true)]
    jwt_svid_ttl: i32,
    /// SPIFFE ID of a trust domain to federate with. Can be used more than once
    #[arg(long = "federatesWith")]
    pub(super) federates_with: Vec<String>,
    /// If set, the SPIFFE ID in this entry will be granted access to the server's management APIs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    admin: bool,
    /// If set, the entry describes a downstream server
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    downstream: bool,
    /// If set, the SVID issued from this entry must be stored through an SVIDStore plugin
    #[arg(long = "storeSVID", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    store_svid: bool,
    /// An expiry, from epoch in seconds, for the resulting registration entry to be pruned
    #[arg(long = "entryExpiry", default_value_t = 0, allow_negative_numbers = true)]
    entry_expiry: i64,
    /// A DNS name that will be included in SVIDs issued based on this entry. Can be used more than once
    #[arg(long)]
    dns: Vec<String>,
    /// The entry hint, used to disambiguate entries with the same SPIFFE ID
    #[arg(long, default_value = "")]
    hint: String,
    /// If set, agents do not fetch the X.509-SVID before a workload asks for it
    #[arg(long = "disableX509SVIDPrefetch", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub(super) disable_x509_svid_prefetch: Option<bool>,
    /// If set, JWT-SVIDs carry a unique jti claim and bypass the agent's cache
    #[arg(long = "jwtSVIDIncludeJTI", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub(super) jwt_svid_include_jti: Option<bool>,
}

impl EntryFlags {
    /// Asked first, as SPIRE asks it.
    pub(super) fn check_selectors(&self) -> Result<(), CliError> {
        if self.selector.is_empty() { Err(CliError::Usage("at least one selector is required")) } else { Ok(()) }
    }

    /// The entry; `parent` is given where the flags don't say it.
    pub(super) fn entry(&self, parent: Option<Spiffeid>) -> Result<Entry, CliError> {
        if self.spiffe_id.is_empty() {
            return Err(CliError::Usage("a SPIFFE ID is required"));
        }
        if self.x509_svid_ttl < 0 {
            return Err(CliError::Usage("a positive x509-SVID TTL is required"));
        }
        if self.jwt_svid_ttl < 0 {
            return Err(CliError::Usage("a positive JWT-SVID TTL is required"));
        }
        let parent_id = match parent {
            Some(parent) => parent,
            None => spiffe_id("parent ID", &self.parent_id)?,
        };
        Ok(Entry {
            id: self.entry_id.clone(),
            spiffe_id: Some(self.spiffe_id()?),
            parent_id: Some(parent_id),
            selectors: self.selector.iter().map(|text| selector(text)).collect::<Result<_, _>>()?,
            x509_svid_ttl: self.x509_svid_ttl,
            federates_with: self.federates_with.clone(),
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.entry_expiry,
            dns_names: self.dns.clone(),
            revision_number: 0,
            store_svid: self.store_svid,
            jwt_svid_ttl: self.jwt_svid_ttl,
            hint: self.hint.clone(),
            created_at: 0,
            additional_attributes: self.additional_attributes(),
        })
    }

    pub(super) fn spiffe_id(&self) -> Result<Spiffeid, CliError> {
        spiffe_id("SPIFFE ID", &self.spiffe_id)
    }

    fn additional_attributes(&self) -> Option<AdditionalAttributes> {
        let attributes = AdditionalAttributes {
            disable_x509_svid_prefetch: self.disable_x509_svid_prefetch.unwrap_or_default(),
            jwt_svid_include_jti: self.jwt_svid_include_jti.unwrap_or_default(),
        };
        (attributes != AdditionalAttributes::default()).then_some(attributes)
    }
}
