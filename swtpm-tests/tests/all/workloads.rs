//! What workloads see of the real programs: identities that come and go, others that accept them, short lives, kills, crowds, races.

mod crowd;
mod delegate;
mod enrolment_race;
mod identities;
mod join_token;
mod jwt;
mod mutual_tls;
mod pushed;
mod restart;
mod rotation;
pub(crate) mod testbed;
