//! Threads that call the token: one session each, one bounded queue for all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use plastron_hsm::Operation;

use crate::connection::Connection;
use crate::held::{Group, Held};
use crate::latency::Latencies;

/// How many calls may wait for a thread. At 1,000 signatures/s a full queue is a quarter of a second; who finds it full is told
/// to come back, and memory stays bounded.
const MAX_QUEUED: usize = 256;

/// How long the end of a store waits for calls under way.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A call for the token.
pub(crate) struct Job {
    pub(crate) operation: Operation,
    /// Asks the token and returns the answer's delivery; `None` if nobody waits any more, and then the token was not asked.
    pub(crate) run: Call,
}

/// Asks the token.
pub(crate) type Call = Box<dyn FnOnce(&mut Connection) -> Option<Delivery> + Send>;

/// An answer on its way to whoever waits for it.
pub(crate) enum Delivery {
    /// It goes out at once.
    Now(Box<dyn FnOnce()>),
    /// A signature, which goes out when it is known that the key made it.
    Held(Held),
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    latencies: Latencies,
    // Microseconds since `started` when each thread's call began; 0 for a thread that waits.
    busy_since: Vec<AtomicU64>,
    started: Instant,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
    threads: usize,
}

/// The threads. Dropping it waits until each has ended its call and closed its session, because a module whose library is taken
/// down by the end of the process while a thread is still in it crashes; a thread that hangs is left behind after a while.
pub(crate) struct Pool(Arc<Shared>);

impl Pool {
    /// Starts one thread per connection.
    pub(crate) fn start(connections: Vec<Connection>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            latencies: Latencies::default(),
            busy_since: connections.iter().map(|_| AtomicU64::new(0)).collect(),
            started: Instant::now(),
        });
        let pool = Self(shared);
        for (number, connection) in connections.into_iter().enumerate() {
            let shared = Arc::clone(&pool.0);
            let thread = std::thread::Builder::new().name(format!("pkcs11-{number}"));
            pool.0.lock().threads += 1;
            let started = thread.spawn(move || {
                shared.serve(number, connection);
                shared.lock().threads -= 1;
                shared.arrived.notify_all();
            });
            if started.is_err() {
                pool.0.lock().threads -= 1;
            }
            started?;
        }
        Ok(pool)
    }

    /// Hands a job to the next free thread, or says how many wait already.
    pub(crate) fn submit(&self, job: Job) -> Result<(), usize> {
        let mut queue = self.0.lock();
        let waiting = queue.jobs.len();
        if waiting >= MAX_QUEUED {
            return Err(waiting);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// A way to the threads for work that nobody waits for.
    pub(crate) fn afterwards(&self) -> Afterwards {
        Afterwards(Arc::downgrade(&self.0))
    }

    /// How many threads have been in one call for longer than this.
    pub(crate) fn hanging(&self, longer_than: Duration) -> usize {
        let now = self.0.now();
        let limit = u64::try_from(longer_than.as_micros()).unwrap_or(u64::MAX);
        let since = self.0.busy_since.iter().map(|since| since.load(Ordering::Relaxed));
        since.filter(|since| *since != 0 && now.saturating_sub(*since) > limit).count()
    }

    /// How many calls wait for a thread.
    pub(crate) fn queued(&self) -> usize {
        self.0.lock().jobs.len()
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.busy_since.len()
    }

    pub(crate) fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let deadline = Instant::now() + END_TIMEOUT;
        let mut queue = self.0.lock();
        queue.closed = true;
        self.0.arrived.notify_all();
        while queue.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(threads = queue.threads, "calls hang in the token's module and are left behind");
                return;
            }
            queue = self.0.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Takes work that follows from a call and that nobody waits for.
#[derive(Clone)]
pub(crate) struct Afterwards(Weak<Shared>);

impl Afterwards {
    /// Hands a job to the threads even if the queue is full: a call leaves at most one. False if the store is gone.
    pub(crate) fn submit(&self, job: Job) -> bool {
        let Some(shared) = self.0.upgrade() else { return false };
        shared.lock().jobs.push_back(job);
        shared.arrived.notify_one();
        true
    }
}

fn settle(group: &mut Group, connection: &mut Connection) {
    if !group.settle() {
        tracing::error!("a key in the token did not make a signature that was given for it; it is looked for again");
        connection.forget();
    }
}

impl Shared {
    fn serve(&self, number: usize, mut connection: Connection) {
        // Ends with the connection dropped: its session is closed before the thread counts as ended.
        let mut group = Group::default();
        while let Some(job) = self.next(&mut group, &mut connection) {
            let began = Instant::now();
            self.mark(number, self.now().max(1));
            let delivery = (job.run)(&mut connection);
            self.mark(number, 0);
            if let Some(delivery) = delivery {
                // Counted first, so that whoever has the answer finds it in the counters.
                self.latencies.record(job.operation, began.elapsed());
                match delivery {
                    Delivery::Now(deliver) => deliver(),
                    Delivery::Held(held) => group.hold(held),
                }
            }
            if group.is_due() {
                settle(&mut group, &mut connection);
            }
        }
    }

    /// The next call. Before the thread waits for one, it answers what it holds.
    fn next(&self, group: &mut Group, connection: &mut Connection) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if !group.is_empty() {
                drop(queue);
                settle(group, connection);
                queue = self.lock();
                continue;
            }
            if queue.closed {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn mark(&self, number: usize, since: u64) {
        if let Some(place) = self.busy_since.get(number) {
            place.store(since, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
