//! A TPM manufacturer: a root and an intermediate CA that sign EK certificates. swtpm's local CA, kept away from
//! `/var/lib/swtpm-localca`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tool::run;
use crate::{HarnessError, scratch_dir, tool};

/// A manufacturer CA in a directory: RSA-3072, root and one intermediate.
#[derive(Clone, Debug)]
pub struct Manufacturer {
    directory: PathBuf,
}

impl Manufacturer {
    /// The one that all tests of this build directory share; made by whoever comes first.
    pub fn shared() -> Result<Self, HarnessError> {
        let scratch = scratch_dir()?;
        let lock = File::create(scratch.join("manufacturer.lock")).map_err(HarnessError::io("create the CA's lock"))?;
        lock.lock().map_err(HarnessError::io("lock the shared manufacturer CA"))?;
        let directory = scratch.join("manufacturer");
        if directory.join("complete").exists() {
            return Ok(Self { directory });
        }
        // What lies there without the mark is what a killed test left.
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(HarnessError::io("remove a half-made manufacturer CA"))?;
        }
        let made = Self::found(&directory)?;
        fs::write(directory.join("complete"), "").map_err(HarnessError::io("mark the CA as complete"))?;
        Ok(made)
    }

    /// Another manufacturer, in `directory`: what its TPMs carry is trusted only by who trusts its root.
    pub fn found(directory: &Path) -> Result<Self, HarnessError> {
        fs::create_dir_all(directory).map_err(HarnessError::io(format!("create {}", directory.display())))?;
        let made = Self { directory: directory.to_owned() };
        let path = |name: &str| directory.join(name).display().to_string();
        let setup = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            tool("swtpm_localca")?.display(),
            path("localca.conf"),
            path("localca.options"),
        );
        let localca = format!(
            "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
            directory.display(),
            path("signkey.pem"),
            path("issuercert.pem"),
            path("certserial"),
        );
        let options = "--platform-manufacturer Plastron\n--platform-version 1.0\n--platform-model Testbed\n";
        for (name, text) in [("setup.conf", setup), ("localca.conf", localca), ("localca.options", options.to_owned())]
        {
            fs::write(directory.join(name), text).map_err(HarnessError::io(format!("write {}", path(name))))?;
        }
        // The CA comes into being with the first TPM that it certifies.
        let first = tempfile::tempdir().map_err(HarnessError::io("create a temporary directory"))?;
        made.make_tpm(first.path())?;
        Ok(made)
    }

    /// Manufactures a TPM: state with EKs (RSA-2048, P-384), their certificates and a platform certificate in NV, in the empty
    /// folder `state`, from which swtpm then runs.
    pub fn make_tpm(&self, state: &Path) -> Result<(), HarnessError> {
        self.make(state, "2048")
    }

    /// The same with an RSA-3072 key (template H-6) in place of RSA-2048.
    pub(crate) fn make_tpm_with_rsa_3072(&self, state: &Path) -> Result<(), HarnessError> {
        self.make(state, "3072")
    }

    fn make(&self, state: &Path, rsa_bits: &str) -> Result<(), HarnessError> {
        let mut command = Command::new(tool("swtpm_setup")?);
        command.args(["--tpm2", "--createek", "--create-ek-cert", "--create-platform-cert", "--lock-nvram"]);
        command.args(["--pcr-banks", "sha1,sha256,sha384", "--rsa-keysize", rsa_bits]);
        command.arg("--tpmstate").arg(state).arg("--write-ek-cert-files").arg(state);
        command.arg("--config").arg(self.directory.join("setup.conf"));
        run(&mut command)?;
        Ok(())
    }

    /// The root certificate's file, PEM: for `ek_cert_chain` roots.
    pub fn root_pem_file(&self) -> PathBuf {
        self.directory.join("swtpm-localca-rootca-cert.pem")
    }

    /// The intermediate certificate's file, PEM.
    pub fn intermediate_pem_file(&self) -> PathBuf {
        self.directory.join("issuercert.pem")
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> Result<Vec<u8>, HarnessError> {
        read_certificate(&self.root_pem_file())
    }

    /// The intermediate certificate, DER.
    pub fn intermediate_der(&self) -> Result<Vec<u8>, HarnessError> {
        read_certificate(&self.intermediate_pem_file())
    }
}

fn read_certificate(path: &Path) -> Result<Vec<u8>, HarnessError> {
    let pem = fs::read(path).map_err(HarnessError::io(format!("read {}", path.display())))?;
    let malformed = || HarnessError::Malformed { path: path.display().to_string(), expected: "a PEM certificate" };
    let (_, der) = der::pem::decode_vec(&pem).map_err(|_| malformed())?;
    Ok(der)
}
