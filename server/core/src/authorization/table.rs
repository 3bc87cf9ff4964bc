//! The table: a row for each RPC, and the callers that it is open to (SPIRE's default authorisation policy).

use std::fmt::Write as _;

use super::permit::{Agent, Anyone, CallerClass, Downstream, Local, Manager, ManagerOrAgent};

/// The columns of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Anyone, even without a client certificate.
    pub anyone: bool,
    /// A process on the admin socket.
    pub local: bool,
    /// An SVID that configuration or an entry makes an administrator.
    pub admin: bool,
    /// An SVID that an entry makes a downstream server.
    pub downstream: bool,
    /// An agent in good standing.
    pub agent: bool,
}

impl Columns {
    /// No one.
    pub const NONE: Self = Self { anyone: false, local: false, admin: false, downstream: false, agent: false };

    /// Whether the row is for the admin socket alone, so that the network has no such service.
    pub fn only_local(self) -> bool {
        self == Self { local: true, ..Self::NONE }
    }
}

/// An RPC, as a type: permits for different RPCs can't be exchanged.
pub trait Rpc: Send + Sync + 'static {
    /// Its row.
    const METHOD: Method;
    /// Whom the row lets in.
    type Caller: CallerClass;
}

macro_rules! table {
    ($($name:ident $path:literal $caller:ident;)*) => {
        /// A row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $(#[doc = concat!("`", $path, "`")] $name,)*
        }

        impl Method {
            /// All rows, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Full method name, as in an HTTP/2 `:path`.
            pub fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }

            /// Whom the row lets in.
            pub fn columns(self) -> Columns {
                match self { $(Self::$name => <$caller as CallerClass>::COLUMNS,)* }
            }

            /// The row of a full method name.
            pub fn from_path(path: &str) -> Option<Self> {
                match path { $($path => Some(Self::$name),)* _ => None }
            }
        }

        /// The RPCs as types.
        pub mod rpc {
            use super::{Agent, Anyone, Downstream, Local, Manager, ManagerOrAgent, Method, Rpc};
            $(
                #[doc = concat!("`", $path, "`")]
                #[derive(Debug)]
                pub enum $name {}
                impl Rpc for $name {
                    const METHOD: Method = Method::$name;
                    type Caller = $caller;
                }
            )*
        }
    };
}

table! {
    AttestAgent "/spire.api.server.agent.v1.Agent/AttestAgent" Anyone;
    RenewAgent "/spire.api.server.agent.v1.Agent/RenewAgent" Agent;
    PostStatus "/spire.api.server.agent.v1.Agent/PostStatus" Agent;
    CountAgents "/spire.api.server.agent.v1.Agent/CountAgents" Manager;
    ListAgents "/spire.api.server.agent.v1.Agent/ListAgents" Manager;
    GetAgent "/spire.api.server.agent.v1.Agent/GetAgent" Manager;
    DeleteAgent "/spire.api.server.agent.v1.Agent/DeleteAgent" Manager;
    BanAgent "/spire.api.server.agent.v1.Agent/BanAgent" Manager;
    CreateJoinToken "/spire.api.server.agent.v1.Agent/CreateJoinToken" Manager;

    GetBundle "/spire.api.server.bundle.v1.Bundle/GetBundle" Anyone;
    AppendBundle "/spire.api.server.bundle.v1.Bundle/AppendBundle" Manager;
    PublishJwtAuthority "/spire.api.server.bundle.v1.Bundle/PublishJWTAuthority" Downstream;
    PublishWitAuthority "/spire.api.server.bundle.v1.Bundle/PublishWITAuthority" Downstream;
    CountBundles "/spire.api.server.bundle.v1.Bundle/CountBundles" Manager;
    ListFederatedBundles "/spire.api.server.bundle.v1.Bundle/ListFederatedBundles" Manager;
    GetFederatedBundle "/spire.api.server.bundle.v1.Bundle/GetFederatedBundle" ManagerOrAgent;
    BatchCreateFederatedBundle "/spire.api.server.bundle.v1.Bundle/BatchCreateFederatedBundle" Manager;
    BatchUpdateFederatedBundle "/spire.api.server.bundle.v1.Bundle/BatchUpdateFederatedBundle" Manager;
    BatchSetFederatedBundle "/spire.api.server.bundle.v1.Bundle/BatchSetFederatedBundle" Manager;
    BatchDeleteFederatedBundle "/spire.api.server.bundle.v1.Bundle/BatchDeleteFederatedBundle" Manager;

    CountEntries "/spire.api.server.entry.v1.Entry/CountEntries" Manager;
    ListEntries "/spire.api.server.entry.v1.Entry/ListEntries" Manager;
    GetEntry "/spire.api.server.entry.v1.Entry/GetEntry" Manager;
    BatchCreateEntry "/spire.api.server.entry.v1.Entry/BatchCreateEntry" Manager;
    BatchUpdateEntry "/spire.api.server.entry.v1.Entry/BatchUpdateEntry" Manager;
    BatchDeleteEntry "/spire.api.server.entry.v1.Entry/BatchDeleteEntry" Manager;
    GetAuthorizedEntries "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries" Agent;
    SyncAuthorizedEntries "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries" Agent;

    MintX509Svid "/spire.api.server.svid.v1.SVID/MintX509SVID" Manager;
    MintJwtSvid "/spire.api.server.svid.v1.SVID/MintJWTSVID" Manager;
    MintWitSvid "/spire.api.server.svid.v1.SVID/MintWITSVID" Manager;
    BatchNewX509Svid "/spire.api.server.svid.v1.SVID/BatchNewX509SVID" Agent;
    NewJwtSvid "/spire.api.server.svid.v1.SVID/NewJWTSVID" Agent;
    BatchNewWitSvid "/spire.api.server.svid.v1.SVID/BatchNewWITSVID" Agent;
    NewDownstreamX509Ca "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA" Downstream;

    ListFederationRelationships "/spire.api.server.trustdomain.v1.TrustDomain/ListFederationRelationships" Manager;
    GetFederationRelationship "/spire.api.server.trustdomain.v1.TrustDomain/GetFederationRelationship" Manager;
    BatchCreateFederationRelationship "/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship" Manager;
    BatchUpdateFederationRelationship "/spire.api.server.trustdomain.v1.TrustDomain/BatchUpdateFederationRelationship" Manager;
    BatchDeleteFederationRelationship "/spire.api.server.trustdomain.v1.TrustDomain/BatchDeleteFederationRelationship" Manager;
    RefreshBundle "/spire.api.server.trustdomain.v1.TrustDomain/RefreshBundle" Manager;

    GetX509AuthorityState "/spire.api.server.localauthority.v1.LocalAuthority/GetX509AuthorityState" Manager;
    PrepareX509Authority "/spire.api.server.localauthority.v1.LocalAuthority/PrepareX509Authority" Manager;
    ActivateX509Authority "/spire.api.server.localauthority.v1.LocalAuthority/ActivateX509Authority" Manager;
    TaintX509Authority "/spire.api.server.localauthority.v1.LocalAuthority/TaintX509Authority" Manager;
    TaintX509UpstreamAuthority "/spire.api.server.localauthority.v1.LocalAuthority/TaintX509UpstreamAuthority" Manager;
    RevokeX509Authority "/spire.api.server.localauthority.v1.LocalAuthority/RevokeX509Authority" Manager;
    RevokeX509UpstreamAuthority "/spire.api.server.localauthority.v1.LocalAuthority/RevokeX509UpstreamAuthority" Manager;
    GetJwtAuthorityState "/spire.api.server.localauthority.v1.LocalAuthority/GetJWTAuthorityState" Manager;
    PrepareJwtAuthority "/spire.api.server.localauthority.v1.LocalAuthority/PrepareJWTAuthority" Manager;
    ActivateJwtAuthority "/spire.api.server.localauthority.v1.LocalAuthority/ActivateJWTAuthority" Manager;
    TaintJwtAuthority "/spire.api.server.localauthority.v1.LocalAuthority/TaintJWTAuthority" Manager;
    RevokeJwtAuthority "/spire.api.server.localauthority.v1.LocalAuthority/RevokeJWTAuthority" Manager;
    GetWitAuthorityState "/spire.api.server.localauthority.v1.LocalAuthority/GetWITAuthorityState" Manager;
    PrepareWitAuthority "/spire.api.server.localauthority.v1.LocalAuthority/PrepareWITAuthority" Manager;
    ActivateWitAuthority "/spire.api.server.localauthority.v1.LocalAuthority/ActivateWITAuthority" Manager;
    TaintWitAuthority "/spire.api.server.localauthority.v1.LocalAuthority/TaintWITAuthority" Manager;
    RevokeWitAuthority "/spire.api.server.localauthority.v1.LocalAuthority/RevokeWITAuthority" Manager;

    ListPendingTpms "/plastron.server.tpm.v1.Tpm/ListPending" Manager;
    ApprovePendingTpm "/plastron.server.tpm.v1.Tpm/ApprovePending" Manager;
    RejectPendingTpm "/plastron.server.tpm.v1.Tpm/RejectPending" Manager;

    WatchSubscribe "/plastron.server.watch.v1.Watch/Subscribe" Agent;

    ListUnreferencedKeys "/plastron.server.hsm.v1.Hsm/ListUnreferencedKeys" Manager;
    DestroyUnreferencedKeys "/plastron.server.hsm.v1.Hsm/DestroyUnreferencedKeys" Manager;

    GetLogger "/spire.api.server.logger.v1.Logger/GetLogger" Local;
    SetLogLevel "/spire.api.server.logger.v1.Logger/SetLogLevel" Local;
    ResetLogLevel "/spire.api.server.logger.v1.Logger/ResetLogLevel" Local;
    DebugGetInfo "/spire.api.server.debug.v1.Debug/GetInfo" Local;
    HealthCheck "/grpc.health.v1.Health/Check" Local;
    HealthWatch "/grpc.health.v1.Health/Watch" Local;
    HealthList "/grpc.health.v1.Health/List" Local;
    Reflection "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" Local;
    ReflectionV1Alpha "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" Local;
}

/// The table as text, for people and for the golden file.
pub fn render() -> String {
    let width = Method::ALL.iter().map(|method| method.path().len()).max().unwrap_or_default();
    let mut text = format!("{:width$}  anyone  local  admin  downstream  agent\n", "RPC");
    for method in Method::ALL {
        let Columns { anyone, local, admin, downstream, agent } = method.columns();
        let mark = |open: bool| if open { "x" } else { "-" };
        let row = format!(
            "{:width$}  {:6}  {:5}  {:5}  {:10}  {}",
            method.path(),
            mark(anyone),
            mark(local),
            mark(admin),
            mark(downstream),
            mark(agent)
        );
        // Writing to a String can't fail.
        let _ = writeln!(text, "{row}");
    }
    text
}
