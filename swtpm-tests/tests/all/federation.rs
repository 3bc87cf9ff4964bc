//! Two trust domains, each with the real server, that federate over HTTPS; and their workloads.

mod by_id;
mod by_name;
mod domain;

pub(crate) use by_name::make_certificate;
