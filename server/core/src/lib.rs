//! Registration, node admission, the CA, the authorisation table and audit: what the server decides.
//!
//! Layer 3: this crate knows no socket, no SQL and no wire format. State lives in memory, is loaded once from a [`store::Store`]
//! and afterwards changes only by what the store has committed ([`ledger::Ledger`]), so issuing an SVID, listing an agent's
//! entries, handing out the bundle and authorising an agent read no database.
//!
//! Who may call what stands in one table ([`authorization`]); each operation takes the [`authorization::Permit`] of its own RPC
//! by value, and only [`authorization::Authorizer::authorize`] makes one.

pub mod admission;
pub mod audience;
pub mod audit;
pub mod authority;
pub mod authorization;
pub mod bundles;
pub mod ca;
pub mod clock;
pub mod federation;
pub mod health;
mod index;
pub mod issuance;
pub mod ledger;
pub mod limits;
pub mod local_authority;
mod meters;
pub mod minting;
pub mod nesting;
pub mod nodes;
pub mod orphans;
pub mod page;
pub mod pending;
pub mod pruning;
pub mod registration;
pub mod server_svid;
mod services;
pub mod state;
pub mod store;
pub mod tokens;
pub mod watch;

pub use services::{Inventory, Services, ServicesConfig, StartError};
