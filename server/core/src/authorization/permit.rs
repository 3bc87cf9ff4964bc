//! Permits: proof that the table lets a caller call one RPC. Made in `authorization.rs` alone.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::{SerialNumber, VerifiedSvid};

use super::table::{Columns, Rpc};

/// Which column of the row let the caller in.
pub(super) enum Grant {
    Anyone,
    Local,
    Admin(SpiffeId),
    Downstream(SpiffeId),
    Agent(Agent),
}

/// Proof that the caller may call `R`. An operation takes the permit of its own RPC by value.
pub struct Permit<R: Rpc> {
    caller: R::Caller,
    identity: String,
    rpc: PhantomData<R>,
}

impl<R: Rpc> Permit<R> {
    pub(super) fn new(caller: R::Caller, identity: String) -> Self {
        Self { caller, identity, rpc: PhantomData }
    }

    /// As whom the caller is let in.
    pub fn caller(&self) -> &R::Caller {
        &self.caller
    }

    /// Who the caller is, in words, for the audit log.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

impl<R: Rpc> fmt::Debug for Permit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit<{}>({})", R::METHOD.path(), self.identity)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A set of columns of the table, as the type of caller that they let in.
pub trait CallerClass: sealed::Sealed + Sized + Send + Sync + 'static {
    /// The columns.
    const COLUMNS: Columns;

    #[doc(hidden)]
    #[expect(private_interfaces, reason = "the trait is sealed; a grant is this module's own business")]
    fn from_grant(grant: Grant) -> Option<Self>;
}

/// Anyone, with a client certificate or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anyone(());

/// A process on the admin socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(());

/// Someone who administers the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manager {
    /// A process on the admin socket.
    Local,
    /// An SVID with admin rights.
    Admin(SpiffeId),
}

/// An agent in good standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    svid: Arc<VerifiedSvid>,
    serial: SerialNumber,
}

impl Agent {
    pub(super) fn new(svid: Arc<VerifiedSvid>, serial: SerialNumber) -> Self {
        Self { svid, serial }
    }

    /// Its SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        self.svid.id()
    }

    /// The SVID that it presented.
    pub fn svid(&self) -> &Arc<VerifiedSvid> {
        &self.svid
    }

    /// Serial number of the SVID that it presented.
    pub fn serial(&self) -> &SerialNumber {
        &self.serial
    }
}

/// Someone who administers the server, or an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerOrAgent {
    /// An administrator.
    Manager(Manager),
    /// An agent.
    Agent(Agent),
}

/// A downstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downstream {
    id: SpiffeId,
}

impl Downstream {
    /// Its SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }
}

macro_rules! caller_class {
    ($class:ty, [$($column:ident),*], $grant:ident => $from:expr) => {
        impl sealed::Sealed for $class {}
        impl CallerClass for $class {
            const COLUMNS: Columns = Columns { $($column: true,)* ..Columns::NONE };

            #[expect(private_interfaces, reason = "the trait is sealed; a grant is this module's own business")]
            fn from_grant($grant: Grant) -> Option<Self> {
                $from
            }
        }
    };
}

caller_class!(Anyone, [anyone], _grant => Some(Self(())));
caller_class!(Local, [local], grant => matches!(grant, Grant::Local).then_some(Self(())));
caller_class!(Manager, [local, admin], grant => match grant {
    Grant::Local => Some(Self::Local),
    Grant::Admin(id) => Some(Self::Admin(id)),
    Grant::Anyone | Grant::Downstream(_) | Grant::Agent(_) => None,
});
caller_class!(Agent, [agent], grant => match grant {
    Grant::Agent(agent) => Some(agent),
    Grant::Anyone | Grant::Local | Grant::Admin(_) | Grant::Downstream(_) => None,
});
caller_class!(ManagerOrAgent, [local, admin, agent], grant => match grant {
    Grant::Agent(agent) => Some(Self::Agent(agent)),
    Grant::Local => Some(Self::Manager(Manager::Local)),
    Grant::Admin(id) => Some(Self::Manager(Manager::Admin(id))),
    Grant::Anyone | Grant::Downstream(_) => None,
});
caller_class!(Downstream, [downstream], grant => match grant {
    Grant::Downstream(id) => Some(Self { id }),
    Grant::Anyone | Grant::Local | Grant::Admin(_) | Grant::Agent(_) => None,
});
