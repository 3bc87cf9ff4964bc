//! Programs that know nothing of SPIFFE, with the files of `api fetch x509 -write`: nginx and HAProxy as servers that demand a workload's
//! certificate, openssl as their client.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plastron_swtpm_tests::{Process, tool};
use rustix::process::Signal;

use crate::moved_authority::{Kind, move_on};
use crate::workloads::testbed::{Agent, TRUST_DOMAIN, Testbed, eventually, path_of, workload_program};

/// The files of one workload.
struct Files(PathBuf);

impl Files {
    fn fetch(agent: &Agent, workload: &Path, directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let fetched = agent.fetch_as(workload, &["-write", directory.to_str().unwrap()]);
        assert!(fetched.status.success(), "{fetched:?}");
        // HAProxy wants certificates and key in one file.
        let both = ["svid.0.pem", "svid.0.key"].map(|name| fs::read(directory.join(name)).unwrap()).concat();
        fs::write(directory.join("both.pem"), both).unwrap();
        Self(directory.to_owned())
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// One request over TLS, by openssl with these files or without a certificate. What came back, where the server was believed.
fn get(socket: &Path, trust: &Files, own: Option<&Files>) -> String {
    let mut client = Command::new(tool("openssl").unwrap());
    client.args([
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-verify",
        "5",
        "-CAfile",
        &trust.path("bundle.0.pem"),
        "-unix",
    ]);
    client.arg(socket);
    if let Some(own) = own {
        client.args(["-cert", &own.path("svid.0.pem"), "-key", &own.path("svid.0.key")]);
    }
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    // Whoever is refused may be gone before it asks.
    let _refused = client.stdin.as_mut().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n");
    let output = client.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server with the files of one workload.
struct Server {
    process: Process,
    socket: PathBuf,
}

impl Server {
    fn nginx(directory: &Path, files: &Files) -> Self {
        let (config, socket) = (directory.join("nginx.conf"), directory.join("nginx.sock"));
        let text = format!(
            "daemon off; pid {directory}/nginx.pid; error_log stderr info; worker_processes 1; events {{}}
             http {{
               access_log off;
               client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3;
               uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
               server {{
                 listen unix:{socket} ssl;
                 ssl_certificate {chain}; ssl_certificate_key {key};
                 ssl_client_certificate {bundle}; ssl_verify_client on; ssl_session_tickets off;
                 location / {{ return 200 \"served $ssl_client_verify $ssl_client_s_dn\\n\"; }}
               }}
             }}",
            directory = directory.display(),
            socket = socket.display(),
            chain = files.path("svid.0.pem"),
            key = files.path("svid.0.key"),
            bundle = files.path("bundle.0.pem"),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(tool("nginx").unwrap());
        // As root its worker changes to a user that may not enter the directory.
        command.args(["-g", &format!("user {};", user_name()), "-p"]).arg(directory).arg("-c").arg(&config);
        Self::start(Process::spawn("nginx", &command).unwrap(), socket)
    }

    fn haproxy(directory: &Path, files: &Files) -> Self {
        let (config, socket) = (directory.join("haproxy.cfg"), directory.join("haproxy.sock"));
        let text = format!(
            "global\n  no-memory-trimming\n  master-worker\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             frontend in\n  bind unix@{socket} ssl crt {both} ca-file {bundle} verify required no-tls-tickets\n\
             \x20 http-request return status 200 content-type text/plain lf-string \"served SUCCESS %[ssl_c_s_dn]\\n\"\n",
            socket = socket.display(),
            both = files.path("both.pem"),
            bundle = files.path("bundle.0.pem"),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(tool("haproxy").unwrap());
        command.args(["-W", "-f"]).arg(&config);
        Self::start(Process::spawn("haproxy", &command).unwrap(), socket)
    }

    fn start(process: Process, socket: PathBuf) -> Self {
        let server = Self { process, socket };
        eventually("the server to listen", || UnixStream::connect(&server.socket).ok());
        server
    }
}

fn user_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The workload is believed, others are not; and it is so again after a reload with what the next authority signed.
fn demands_certificates(start: fn(&Path, &Files) -> Server, reload: Signal) {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let (web, db) = (workload_program(&bed.path(""), "web"), workload_program(&bed.path(""), "db"));
    for (program, path) in [(&web, "/web"), (&db, "/db")] {
        bed.entry(&node, path, &[&path_of(program)], &["-dns", &format!("{}.test", &path[1..])]);
        agent.await_id(program, path);
    }
    let files = |program: &Path, name: &str| Files::fetch(&agent, program, &bed.path(name));
    let (of_web, of_db) = (files(&web, "web.d"), files(&db, "db.d"));
    let server = start(&bed.path(""), &of_db);

    let elsewhere = Testbed::start("");
    let foreign = elsewhere.start_agent();
    elsewhere.entry(&elsewhere.only_node(), "/web", &[&path_of(&web)], &[]);
    foreign.await_id(&web, "/web");
    let stranger = Files::fetch(&foreign, &web, &elsewhere.path("web.d"));

    let is_served = |own: &Files| get(&server.socket, own, Some(own)).contains("served SUCCESS");
    let answer = get(&server.socket, &of_web, Some(&of_web));
    assert!(answer.contains("served SUCCESS") && answer.contains("CN=web.test"), "{answer}\n{}", server.process.log());
    assert!(!get(&server.socket, &of_web, None).contains("served"), "without a certificate");
    assert!(!get(&server.socket, &of_web, Some(&stranger)).contains("served"), "{TRUST_DOMAIN} of another server");
    assert!(!is_served(&stranger), "a stranger does not believe the server either");

    let chain = |files: &Files| fs::read(files.path("svid.0.pem")).unwrap();
    let (old, old_of_db) = (files(&web, "old.d"), chain(&of_db));
    move_on(&bed, Kind::X509, || {
        chain(&files(&web, "web.d")) != chain(&old) && chain(&files(&db, "db.d")) != old_of_db
    });
    eventually("files without the old authority", || {
        let bundle = |files: Files| fs::read_to_string(files.path("bundle.0.pem")).unwrap().matches("BEGIN").count();
        (bundle(files(&web, "web.d")) == 1 && bundle(files(&db, "db.d")) == 1).then_some(())
    });
    server.process.signal(reload).unwrap();
    eventually("the new files to count", || is_served(&of_web).then_some(()));
    eventually("the old files to count no more", || {
        (!get(&server.socket, &of_web, Some(&old)).contains("served")).then_some(())
    });
}

#[test]
fn nginx_demands_workloads_certificates() {
    demands_certificates(Server::nginx, Signal::HUP);
}

#[test]
fn haproxy_demands_workloads_certificates() {
    demands_certificates(Server::haproxy, Signal::USR2);
}
