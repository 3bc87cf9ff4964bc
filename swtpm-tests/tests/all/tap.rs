//! A wire tap between a program and its TPM: it records what passes, may damage what the TPM answers, and may answer in its place.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use plastron_swtpm_tests::Swtpm;

/// Changes a reply to a command on its way. The TPM is free meanwhile: it may also be used.
pub(crate) type Damage = Box<dyn FnMut(&[u8], Vec<u8>) -> Vec<u8> + Send>;

/// Answers a command (TPM_CC) with this response code (TPM_RC) in the TPM's place, which then never sees the command.
pub(crate) type Answer = Box<dyn FnMut(u32) -> Option<u32> + Send>;

/// A tapped TPM. Its threads end with the test's process.
pub(crate) struct Tap {
    port: u16,
    wire: Arc<Wire>,
}

/// What passed, and what is done to it.
#[derive(Default)]
struct Wire {
    passed: Mutex<Vec<u8>>,
    commands: Mutex<Vec<u32>>,
    damage: Mutex<Option<Damage>>,
    answer: Mutex<Option<Answer>>,
}

impl Tap {
    pub(crate) fn on(tpm: &Swtpm) -> Self {
        let upstream: u16 = tpm.tcti().rsplit_once('=').unwrap().1.parse().unwrap();
        let (commands, control) = listeners();
        let tap = Self { port: commands.local_addr().unwrap().port(), wire: Arc::default() };
        let wire = Arc::clone(&tap.wire);
        thread::spawn(move || {
            for client in commands.incoming() {
                let (client, wire) = (client.unwrap(), Arc::clone(&wire));
                thread::spawn(move || serve(client, upstream, &wire));
            }
        });
        thread::spawn(move || {
            for client in control.incoming() {
                let (client, server) = (client.unwrap(), connect(upstream + 1));
                let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(from_client, server));
                thread::spawn(move || copy(from_server, client));
            }
        });
        tap
    }

    /// The address that leads through the tap.
    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// True if these bytes passed in one piece, in either direction.
    pub(crate) fn has_seen(&self, bytes: &[u8]) -> bool {
        self.wire.passed.lock().unwrap().windows(bytes.len()).any(|window| window == bytes)
    }

    /// How often this command (TPM_CC) was sent since the last call of [`Self::forget_commands`].
    pub(crate) fn count(&self, command: u32) -> usize {
        self.wire.commands.lock().unwrap().iter().filter(|seen| **seen == command).count()
    }

    pub(crate) fn forget_commands(&self) {
        self.wire.commands.lock().unwrap().clear();
    }

    /// Damages every reply from now on, or none.
    pub(crate) fn set_damage(&self, damage: Option<Damage>) {
        *self.wire.damage.lock().unwrap() = damage;
    }

    /// Answers in the TPM's place from now on where this says so, or nowhere.
    pub(crate) fn set_answer(&self, answer: Option<Answer>) {
        *self.wire.answer.lock().unwrap() = answer;
    }
}

fn listeners() -> (TcpListener, TcpListener) {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    loop {
        let first = bind(0).unwrap();
        let above = first.local_addr().unwrap().port().checked_add(1);
        if let Some(Ok(second)) = above.map(bind) {
            return (first, second);
        }
    }
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either side may hang up at any time.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Command after command; after a damaged reply the connection is closed, so that nobody waits for bytes that never come.
fn serve(mut client: TcpStream, upstream: u16, wire: &Wire) {
    while let Some(command) = read_message(&mut client) {
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        wire.passed.lock().unwrap().extend(&command);
        wire.commands.lock().unwrap().push(code);
        let answer = wire.answer.lock().unwrap().as_mut().and_then(|answer| answer(code));
        if let Some(answer) = answer {
            // TPM_ST_NO_SESSIONS, ten bytes: what every TPM answers with an error.
            let reply = [&[0x80, 0x01, 0, 0, 0, 10], answer.to_be_bytes().as_slice()].concat();
            if client.write_all(&reply).is_err() {
                return;
            }
            continue;
        }
        // swtpm serves one connection at a time: it gets one per command, so that others have their turn.
        let mut server = connect(upstream);
        server.write_all(&command).unwrap();
        let Some(reply) = read_message(&mut server) else { return };
        drop(server);
        wire.passed.lock().unwrap().extend(&reply);
        let mut damage = wire.damage.lock().unwrap();
        let (reply, is_damaged) = match damage.as_mut() {
            Some(damage) => {
                let damaged = damage(&command, reply.clone());
                let differs = damaged != reply;
                (damaged, differs)
            }
            None => (reply, false),
        };
        if client.write_all(&reply).is_err() || is_damaged {
            return;
        }
    }
}

/// A TPM command or response: tag, size of the whole, and the rest.
fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 10];
    stream.read_exact(&mut message).ok()?;
    let size = u32::from_be_bytes(message[2..6].try_into().unwrap());
    message.resize(usize::try_from(size).unwrap().max(10), 0);
    stream.read_exact(&mut message[10..]).ok()?;
    Some(message)
}
