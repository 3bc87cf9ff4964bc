//! A PKCS#11 token (SoftHSM) in a directory of its own.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::tool::run;
use crate::{HarnessError, tool};

/// Where SoftHSM's module can be.
const MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

/// In the environment of a test that [`in_own_process`] started: the directory of its token.
const OWN_TOKEN: &str = "PLASTRON_TEST_TOKEN";

/// A token with its label, PIN and configuration. SoftHSM learns where its tokens are from the environment variable
/// `SOFTHSM2_CONF`, once, when a process initialises it: a program started by a test gets [`SoftHsm::conf`] there, and a test
/// that loads the module itself runs in [`in_own_process`].
pub struct SoftHsm {
    directory: PathBuf,
    // None in the child of `in_own_process`, whose parent owns the directory.
    owned: Option<TempDir>,
    label: String,
    pin: String,
}

impl SoftHsm {
    /// A new, empty token.
    pub fn start() -> Result<Self, HarnessError> {
        let owned = tempfile::Builder::new()
            .prefix("hsm-")
            .tempdir()
            .map_err(HarnessError::io("create a temporary directory"))?;
        let directory = owned.path().to_owned();
        let random = owned.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (label, pin) = (format!("plastron-{random}"), format!("pin-{random}"));
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(HarnessError::io(format!("write {}", path.display())))
        };
        fs::create_dir(directory.join("tokens")).map_err(HarnessError::io("create the token directory"))?;
        fs::create_dir(directory.join("fault")).map_err(HarnessError::io("create the fault proxy's directory"))?;
        write(
            "softhsm2.conf",
            &format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
                directory.join("tokens").display()
            ),
        )?;
        write("pin", &pin)?;
        fs::set_permissions(directory.join("pin"), fs::Permissions::from_mode(0o600))
            .map_err(HarnessError::io("restrict the PIN file"))?;
        write("label", &label)?;
        let token = Self { directory, owned: Some(owned), label, pin };
        token.init_token(&token.label, &token.pin)?;
        Ok(token)
    }

    fn open(directory: &Path) -> Result<Self, HarnessError> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(HarnessError::io(format!("read {}", path.display())))
        };
        Ok(Self { directory: directory.to_owned(), owned: None, label: read("label")?, pin: read("pin")? })
    }

    /// One more token beside the first, under the same configuration.
    pub fn init_token(&self, label: &str, pin: &str) -> Result<(), HarnessError> {
        let mut command = Command::new(tool("softhsm2-util")?);
        command.args(["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "so-pin-of-a-test"]);
        run(command.env("SOFTHSM2_CONF", self.conf()))?;
        Ok(())
    }

    /// The PKCS#11 module, for `module` in a configuration.
    pub fn module() -> Result<PathBuf, HarnessError> {
        let found = MODULES.iter().map(PathBuf::from).find(|path| path.exists());
        found.ok_or_else(|| HarnessError::MissingTool { tool: "libsofthsm2.so".to_owned(), package: "softhsm2" })
    }

    /// The value of `SOFTHSM2_CONF` for programs that use the token.
    pub fn conf(&self) -> PathBuf {
        self.directory.join("softhsm2.conf")
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The user PIN.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// A file (mode 0600) that holds the PIN.
    pub fn pin_file(&self) -> PathBuf {
        self.directory.join("pin")
    }

    /// The directory of the token's files: moved away, the token is gone; moved back, it is there again.
    pub fn token_dir(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    /// A directory of this token's own, for files of the test.
    pub fn directory(&self) -> &Path {
        self.owned.as_ref().map_or(&self.directory, |owned| owned.path())
    }

    /// Runs OpenSC's pkcs11-tool, logged in to this token, with these further arguments.
    pub fn pkcs11_tool(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        let mut command = Command::new(tool("pkcs11-tool")?);
        command.arg("--module").arg(Self::module()?).args([
            "--token-label",
            &self.label,
            "--login",
            "--pin",
            &self.pin,
        ]);
        run(command.args(arguments).env("SOFTHSM2_CONF", self.conf()))
    }
}

/// Runs the body of a `#[test]` in a process of its own with a new token, because a PKCS#11 module is initialised once per
/// process and reads its configuration then. Call it as the whole body of the test:
///
/// ```text
/// #[test]
/// fn signs() {
///     in_own_process(|token| { … }).unwrap();
/// }
/// ```
///
/// It starts this very test executable again, for this one test, and fails unless exactly that one test ran and passed.
pub fn in_own_process<F: FnOnce(SoftHsm)>(body: F) -> Result<(), HarnessError> {
    if let Some(directory) = env::var_os(OWN_TOKEN) {
        body(SoftHsm::open(Path::new(&directory))?);
        return Ok(());
    }
    let token = SoftHsm::start()?;
    let directory = token.directory().as_os_str().to_owned();
    let environment = token.environment()?;
    let mut variables = vec![(OWN_TOKEN, directory.as_os_str())];
    variables.extend(environment.iter().map(|(name, value)| (*name, value.as_os_str())));
    run_again(std::any::type_name::<F>(), &variables)
}

/// Runs the test whose body's closure has this type name again, in a process of its own with these variables, and fails unless exactly
/// that one test ran and passed.
pub(crate) fn run_again(closure: &str, variables: &[(&str, &OsStr)]) -> Result<(), HarnessError> {
    // `all::pkcs11::signs::{{closure}}`: the first part is the executable's crate, the last is the closure.
    let name = closure.split_once("::").map_or(closure, |(_, rest)| rest);
    let name = name.strip_suffix("::{{closure}}").unwrap_or(name);
    let executable = env::current_exe().map_err(HarnessError::io("find the running executable"))?;
    let mut command = Command::new(executable);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.envs(variables.iter().copied());
    let output = command.output().map_err(HarnessError::io(format!("run {name} in its own process")))?;
    let mut text = format!("{}\n", output.status);
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    let passed = output.status.success() && text.contains("1 passed");
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if passed {
        // Seen with --nocapture, like the output of any test that passes.
        print!("{text}");
    }
    if passed { Ok(()) } else { Err(HarnessError::OwnProcess { test: name.to_owned(), output: text }) }
}
