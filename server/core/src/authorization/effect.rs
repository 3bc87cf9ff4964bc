//! What becomes of each RPC while the audit log can't be written: the one place that decides.
//!
//! What gives something (an SVID, a token, an entry, an authority that signs, trust in a foreign bundle) is refused before it is begun.
//! What takes something away is done all the same, and its line is written once that is possible: whoever can fill a disk must not
//! be able to keep a stolen node from being banned. Evicting a node is not among these, because it forgets a ban with the node; banning
//! it is.

use super::table::Method;

/// What a call does to the rights of anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Someone may do less afterwards.
    Reduces,
    /// Someone has, or may do, more afterwards, or what was taken is forgotten.
    Extends,
}

impl Method {
    /// What the RPC does to rights. Every RPC is named, so that a new one is decided on.
    pub fn effect(self) -> Effect {
        match self {
            Self::AttestAgent
            | Self::RenewAgent
            | Self::DeleteAgent
            | Self::CreateJoinToken
            | Self::AppendBundle
            | Self::PublishJwtAuthority
            | Self::PublishWitAuthority
            | Self::BatchCreateFederatedBundle
            | Self::BatchUpdateFederatedBundle
            | Self::BatchSetFederatedBundle
            | Self::BatchCreateEntry
            | Self::BatchUpdateEntry
            | Self::MintX509Svid
            | Self::MintJwtSvid
            | Self::MintWitSvid
            | Self::BatchNewX509Svid
            | Self::NewJwtSvid
            | Self::BatchNewWitSvid
            | Self::NewDownstreamX509Ca
            | Self::BatchCreateFederationRelationship
            | Self::BatchUpdateFederationRelationship
            | Self::RefreshBundle
            | Self::PrepareX509Authority
            | Self::ActivateX509Authority
            | Self::PrepareJwtAuthority
            | Self::ActivateJwtAuthority
            | Self::PrepareWitAuthority
            | Self::ActivateWitAuthority
            | Self::DestroyUnreferencedKeys
            | Self::ApprovePendingTpm => Effect::Extends,
            Self::BanAgent
            | Self::BatchDeleteFederatedBundle
            | Self::BatchDeleteEntry
            | Self::BatchDeleteFederationRelationship
            | Self::TaintX509Authority
            | Self::TaintX509UpstreamAuthority
            | Self::RevokeX509Authority
            | Self::RevokeX509UpstreamAuthority
            | Self::TaintJwtAuthority
            | Self::RevokeJwtAuthority
            | Self::TaintWitAuthority
            | Self::RevokeWitAuthority
            | Self::RejectPendingTpm => Effect::Reduces,
            Self::PostStatus
            | Self::ListUnreferencedKeys
            | Self::CountAgents
            | Self::ListAgents
            | Self::GetAgent
            | Self::GetBundle
            | Self::CountBundles
            | Self::ListFederatedBundles
            | Self::GetFederatedBundle
            | Self::CountEntries
            | Self::ListEntries
            | Self::GetEntry
            | Self::GetAuthorizedEntries
            | Self::SyncAuthorizedEntries
            | Self::WatchSubscribe
            | Self::ListFederationRelationships
            | Self::GetFederationRelationship
            | Self::GetX509AuthorityState
            | Self::GetJwtAuthorityState
            | Self::GetWitAuthorityState
            | Self::ListPendingTpms
            | Self::GetLogger
            | Self::SetLogLevel
            | Self::ResetLogLevel
            | Self::DebugGetInfo
            | Self::HealthCheck
            | Self::HealthWatch
            | Self::HealthList
            | Self::Reflection
            | Self::ReflectionV1Alpha => Effect::None,
        }
    }
}
