//! The SPIFFE Workload API, SPIRE's server API, Envoy's discovery of secrets, and what Plastron has besides, on the wire.
//!
//! The .proto files in `proto/proto` are ours: packages, names and numbers are those of SPIFFE, SPIRE and Envoy, since that is what makes
//! the programs talk to each other. `cargo xtask proto` turns them into `src/gen`, which is checked in.
//! This crate holds messages and their JSON form, nothing else: no conversion to our own types (`server/api`, `agent/upstream`), no
//! transport.

pub mod json;

/// The SPIFFE Workload API (SPIFFE_Workload_API.md): service `SpiffeWorkloadAPI`, which has no package.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod workload {
    include!("gen/_.rs");
}

/// Ours: what SPIRE does not have.
pub mod plastron {
    /// `plastron.server`: one module per service.
    pub mod server {
        /// `plastron.server.hsm`: keys that no journal refers to.
        pub mod hsm {
            /// Version 1.
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod v1 {
                include!("gen/plastron.server.hsm.v1.rs");
            }
        }
        /// `plastron.server.tpm`: TPMs that wait for a person.
        pub mod tpm {
            /// Version 1.
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod v1 {
                include!("gen/plastron.server.tpm.v1.rs");
            }
        }
        /// `plastron.server.watch`: what changed, told to agents.
        pub mod watch {
            /// Version 1.
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod v1 {
                include!("gen/plastron.server.watch.v1.rs");
            }
        }
    }
}

/// SPIRE's packages, nested as their names are, because generated code refers to its neighbours by relative paths.
pub mod spire {
    /// `spire.agent`: one service of the agent, whose package lacks `api`.
    pub mod agent {
        /// `spire.agent.debug`: what a running agent says about itself.
        pub mod debug {
            /// Version 1.
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod v1 {
                include!("gen/spire.agent.debug.v1.rs");
            }
        }
    }
    /// `spire.api`
    pub mod api {
        /// `spire.api.agent`: what an agent serves to those who administer it and to its delegates.
        pub mod agent {
            /// `spire.api.agent.delegatedidentity`: identities of workloads, for whoever acts for them.
            pub mod delegatedidentity {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.agent.delegatedidentity.v1.rs");
                }
            }
            /// `spire.api.agent.logger`: the log level.
            pub mod logger {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.agent.logger.v1.rs");
                }
            }
        }
        /// `spire.api.types`: what the services share.
        #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
        pub mod types {
            include!("gen/spire.api.types.rs");
        }
        /// `spire.api.server`: one module per service.
        pub mod server {
            /// `spire.api.server.agent`: admission and administration of nodes.
            pub mod agent {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.agent.v1.rs");
                }
            }
            /// `spire.api.server.bundle`: this trust domain's bundle and federated ones.
            pub mod bundle {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.bundle.v1.rs");
                }
            }
            /// `spire.api.server.debug`: what a running server says about itself.
            pub mod debug {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.debug.v1.rs");
                }
            }
            /// `spire.api.server.entry`: registration entries, and those an agent may serve.
            pub mod entry {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.entry.v1.rs");
                }
            }
            /// `spire.api.server.localauthority`: the authorities of this server.
            pub mod localauthority {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.localauthority.v1.rs");
                }
            }
            /// `spire.api.server.logger`: the log level.
            pub mod logger {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.logger.v1.rs");
                }
            }
            /// `spire.api.server.svid`: the issue of SVIDs.
            pub mod svid {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.svid.v1.rs");
                }
            }
            /// `spire.api.server.trustdomain`: federation relationships.
            pub mod trustdomain {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    include!("gen/spire.api.server.trustdomain.v1.rs");
                }
            }
        }
    }
}

/// Envoy's packages: the parts of them that hand out secrets (SDS v3).
pub mod envoy {
    /// `envoy.config`
    pub mod config {
        /// `envoy.config.core`: what a proxy says of itself, and sources of bytes.
        pub mod core {
            /// Version 3.
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod v3 {
                include!("gen/envoy.config.core.v3.rs");
            }
        }
    }
    /// `envoy.extensions`
    pub mod extensions {
        /// `envoy.extensions.transport_sockets`
        pub mod transport_sockets {
            /// `envoy.extensions.transport_sockets.tls`: certificates, keys, and what peers are verified by.
            pub mod tls {
                /// Version 3.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v3 {
                    include!("gen/envoy.extensions.transport_sockets.tls.v3.rs");
                }
            }
        }
    }
    /// `envoy.service`
    pub mod service {
        /// `envoy.service.discovery`: subscriptions and their answers.
        pub mod discovery {
            /// Version 3.
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod v3 {
                include!("gen/envoy.service.discovery.v3.rs");
            }
        }
        /// `envoy.service.secret`: the Secret Discovery Service.
        pub mod secret {
            /// Version 3.
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
            pub mod v3 {
                include!("gen/envoy.service.secret.v3.rs");
            }
        }
    }
    /// `envoy.type`: versions.
    pub mod r#type {
        /// Version 3.
        #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
        pub mod v3 {
            include!("gen/envoy.r#type.v3.rs");
        }
    }
}

/// Google's packages, as far as Envoy's refer to them.
pub mod google {
    /// `google.rpc`: errors.
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
    pub mod rpc {
        include!("gen/google.rpc.rs");
    }
}

pub use spire::api::types;

/// Every .proto file above with what it imports, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptor_set.binpb");
