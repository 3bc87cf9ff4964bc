//! An agent on a copy of another's disk.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;

use super::{Attestor, TestAgent, TestServer, own_directory};
use crate::HarnessError;

const AK: &str = "tpm_ak.json";

impl TestAgent {
    /// Starts another agent that has the AK's blob of this one and nothing else of it: what an attacker gets who copies a disk.
    pub fn start_copy(&self, server: &TestServer, attestor: &Attestor<'_>) -> Result<Self, HarnessError> {
        let directory = own_directory("agent-")?;
        let data = directory.path().join("data");
        fs::DirBuilder::new().mode(0o700).create(&data).map_err(HarnessError::io("create a data directory"))?;
        fs::copy(self.data_dir().join(AK), data.join(AK)).map_err(HarnessError::io("copy the AK"))?;
        Self::spawn(directory, &server.upstream(&server.bundle_file()), attestor, None)
    }
}
