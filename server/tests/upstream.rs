//! A server below an upstream authority of files, on the real program: OpenSSL verifies what it mints, over rotations and a replaced upstream.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plastron-server");
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with the upstream's files, made by OpenSSL, and a server below it.
struct Server {
    dir: tempfile::TempDir,
    process: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Server {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let config = format!(
            r#"
            server {{
                trust_domain = "example.org"
                data_dir = "{at}/data"
                bind_address = "127.0.0.1"
                bind_port = 0
                log_level = "DEBUG"
                socket_path = "{at}/private/api.sock"
            }}
            plugins {{
                DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{at}/data/store.sqlite3" }} }}
                KeyManager "disk" {{ plugin_data {{ directory = "{at}/data/keys" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
                UpstreamAuthority "disk" {{
                    plugin_data {{
                        cert_file_path = "{at}/cert.pem"
                        key_file_path = "{at}/key.pem"
                        bundle_file_path = "{at}/bundle.pem"
                    }}
                }}
            }}
            "#
        );
        fs::write(dir.path().join("server.conf"), config).unwrap();
        let extensions = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n\
                          subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n";
        let req = format!("[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\n{extensions}");
        fs::write(dir.path().join("req.cnf"), req).unwrap();
        Self { dir, process: None, log: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let output = Command::new("openssl").args(arguments).current_dir(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A root and an intermediate below it, as `<name>.root.pem`, `<name>.pem` and `<name>.key`.
    fn make_upstream(&self, name: &str) {
        let new_key = |file: &str| {
            self.openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", file]);
        };
        let (root_key, root, key, csr, cert) = (
            format!("{name}.root.key"),
            format!("{name}.root.pem"),
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.pem"),
        );
        new_key(&root_key);
        new_key(&key);
        let (root_name, own_name) = (format!("/CN={name} root"), format!("/CN={name} issuing"));
        self.openssl(&[
            "req", "-x509", "-new", "-key", &root_key, "-subj", &root_name, "-days", "900", "-config", "req.cnf",
            "-out", &root,
        ]);
        self.openssl(&["req", "-new", "-key", &key, "-subj", &own_name, "-config", "req.cnf", "-out", &csr]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &root,
            "-CAkey",
            &root_key,
            "-CAcreateserial",
            "-days",
            "800",
            "-extfile",
            "req.cnf",
            "-extensions",
            "ca",
            "-out",
            &cert,
        ]);
    }

    /// Replaces one of the upstream's files by these, as `mv` does.
    fn put(&self, name: &str, from: &[&str]) {
        let text: String = from.iter().map(|file| fs::read_to_string(self.path(file)).unwrap()).collect();
        fs::write(self.path("new"), text).unwrap();
        fs::set_permissions(self.path("new"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn run(&mut self) {
        let mut process = Command::new(PROGRAM)
            .args(["run", "-config"])
            .arg(self.path("server.conf"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut started = String::new();
        while !started.contains("network=unix") {
            let line = lines.next().unwrap_or_else(|| unreachable!("the server ended: {started}")).unwrap();
            started.push_str(&line);
        }
        *self.log.lock().unwrap() = started;
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| log.lock().unwrap().push_str(&line)));
        self.process = Some(process);
    }

    /// Waits until the log has these words so many times since the server started.
    fn logged(&self, words: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log.lock().unwrap().matches(words).count() != times {
            assert!(Instant::now() < deadline, "{times} times {words:?} in {}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let socket = self.path("private/api.sock");
        Command::new(PROGRAM).args(arguments).env("SPIRE_SERVER_PRIVATE_SOCKET", socket).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The Names of the bundle's authorities.
    fn bundle(&self) -> Vec<String> {
        fs::write(self.path("authorities.pem"), self.ok(&["bundle", "show"])).unwrap();
        let listed = self.openssl(&["storeutl", "-noout", "-text", "-certs", "authorities.pem"]);
        listed
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Subject: "))
            .map(|name| name.replace(" = ", "="))
            .collect()
    }

    /// Mints an SVID, and lets OpenSSL verify leaf, intermediates and root of the bundle.
    fn mint(&self) -> usize {
        let folder = self.path("minted");
        fs::create_dir_all(&folder).unwrap();
        self.ok(&["x509", "mint", "-spiffeID", "spiffe://example.org/w", "-write", folder.to_str().unwrap()]);
        fs::write(folder.join("roots.pem"), self.ok(&["bundle", "show"])).unwrap();
        self.openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-CAfile",
            "minted/roots.pem",
            "-untrusted",
            "minted/svid.pem",
            "minted/svid.pem",
        ]);
        fs::read_to_string(folder.join("svid.pem")).unwrap().matches("BEGIN CERTIFICATE").count()
    }

    /// Prepares and activates the next authority; its ID comes back.
    fn rotate(&self) -> String {
        let prepared: serde_json::Value =
            serde_json::from_str(&self.ok(&["localauthority", "x509", "prepare", "-output", "json"])).unwrap();
        let id = prepared["prepared_authority"]["authority_id"].as_str().unwrap().to_owned();
        self.ok(&["localauthority", "x509", "activate", "-authorityID", &id]);
        id
    }
}

#[test]
fn a_server_below_files_is_verified_by_openssl_over_a_rotation_and_a_replaced_upstream() {
    let mut server = Server::new();
    server.make_upstream("old");
    server.make_upstream("new");
    server.put("cert.pem", &["old.pem"]);
    server.put("key.pem", &["old.key"]);
    server.put("bundle.pem", &["old.root.pem"]);
    let config = server.path("server.conf");
    assert!(server.ok(&["validate", "-config", config.to_str().unwrap()]).contains("is valid"));
    server.run();
    assert_eq!(server.bundle(), ["CN=old root"]);
    assert_eq!(server.mint(), 3, "leaf, the server's CA, the upstream's");

    let first = server.rotate();
    // What scripts around SPIRE wait for after an activation.
    server.logged("Successfully rotated X.509 CA", 2);
    assert_eq!(server.mint(), 3);
    assert_eq!(server.bundle(), ["CN=old root"], "no authority but the upstream's");
    let error = server.fails(&["localauthority", "x509", "taint", "-authorityID", &first]);
    assert!(error.contains("FailedPrecondition"), "{error}");
    let error = server.fails(&["localauthority", "x509", "revoke", "-authorityID", &first]);
    assert!(error.contains("FailedPrecondition"), "{error}");

    // The new root is in the bundle before anything below it is signed: without a restart, and without anyone asking for it.
    server.put("bundle.pem", &["old.root.pem", "new.root.pem"]);
    let deadline = Instant::now() + PATIENCE;
    while server.bundle() != ["CN=old root", "CN=new root"] {
        assert!(Instant::now() < deadline, "{:?}", server.bundle());
        std::thread::sleep(Duration::from_millis(200));
    }
    server.put("cert.pem", &["new.pem"]);
    server.fails(&["localauthority", "x509", "prepare"]);
    assert_eq!(server.mint(), 3, "half a replacement changes nothing for those who are served");
    server.put("key.pem", &["new.key"]);
    server.rotate();
    assert_eq!(server.mint(), 3);
    let chain = server.openssl(&["storeutl", "-noout", "-text", "-certs", "minted/svid.pem"]);
    assert!(chain.replace(" = ", "=").contains("Issuer: CN=new root"), "{chain}");

    // It goes on with what it has where the upstream is gone, also after a restart.
    fs::remove_file(server.path("key.pem")).unwrap();
    let mut process = server.process.take().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    server.run();
    assert_eq!(server.mint(), 3);
}
