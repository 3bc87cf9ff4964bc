//! The flags of `run` and `validate`, which are SPIRE's.

use std::path::PathBuf;

/// Flags; each wins over the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Path to a server config file
    #[arg(long, default_value = "conf/server/server.conf")]
    pub(crate) config: PathBuf,
    /// Expand environment variables in the config file
    #[arg(long = "expandEnv")]
    pub(crate) expand_env: bool,
    /// Refuse whatever would only be warned of in the config file
    #[arg(long)]
    pub(crate) strict: bool,
    /// IP address or DNS name of the server
    #[arg(long = "bindAddress")]
    pub(crate) bind_address: Option<String>,
    /// Port number of the server
    #[arg(long = "serverPort")]
    pub(crate) server_port: Option<u16>,
    /// Path to bind the admin API socket to
    #[arg(long = "socketPath")]
    pub(crate) socket_path: Option<PathBuf>,
    /// The trust domain that this server belongs to
    #[arg(long = "trustDomain")]
    pub(crate) trust_domain: Option<String>,
    /// Directory to store runtime data in
    #[arg(long = "dataDir")]
    pub(crate) data_dir: Option<PathBuf>,
    /// File to write logs to
    #[arg(long = "logFile")]
    pub(crate) log_file: Option<PathBuf>,
    /// 'text' or 'json'
    #[arg(long = "logFormat")]
    pub(crate) log_format: Option<String>,
    /// 'trace', 'debug', 'info', 'warn' or 'error'
    #[arg(long = "logLevel")]
    pub(crate) log_level: Option<String>,
    /// Include the place in the source in log lines
    #[arg(long = "logSourceLocation")]
    pub(crate) log_source_location: bool,
    /// SPIRE ignores words after the command, and so do we: `run config FILE` runs the default configuration.
    #[arg(hide = true)]
    pub(crate) ignored: Vec<String>,
}
