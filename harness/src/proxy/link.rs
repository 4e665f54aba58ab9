//! One listener and its connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

const CHUNK: usize = 64 * 1024;
const STACK: usize = 128 * 1024;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the broker.
    Requests,
    /// From the broker to the client.
    Responses,
}

#[derive(Debug)]
pub(super) struct Link {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    weather: Mutex<Weather>,
    changed: Condvar,
    connections: Mutex<Vec<Weak<Connection>>>,
}

#[derive(Debug, Default)]
struct Weather {
    refuse: bool,
    /// By direction.
    hold: [bool; 2],
    delay: Duration,
    ended: bool,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    broker: TcpStream,
    /// By direction.
    swallowed: [AtomicBool; 2],
}

impl Link {
    pub(super) fn start(port: u16, target: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .with_context(|| format!("listening at port {port}"))?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name(format!("proxy-{port}"))
            .spawn(move || accepting.accept(&listener, target))?;
        Ok(Self {
            port,
            shared,
            acceptor: Some(acceptor),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn cut(&self) -> usize {
        let alive = self.shared.alive();
        for connection in &alive {
            connection.close();
        }
        alive.len()
    }

    pub(super) fn refuse(&self, refuse: bool) {
        self.shared.change(|weather| weather.refuse = refuse);
        if refuse {
            self.cut();
        }
    }

    pub(super) fn hold(&self, direction: Direction, hold: bool) {
        self.shared
            .change(|weather| weather.hold[direction as usize] = hold);
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.shared.change(|weather| weather.delay = delay);
    }

    pub(super) fn swallow(&self, direction: Direction) -> usize {
        let alive = self.shared.alive();
        for connection in &alive {
            connection.swallowed[direction as usize].store(true, Ordering::Relaxed);
        }
        alive.len()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.change(|weather| weather.ended = true);
        self.cut();
        // The acceptor checks when a connection arrives.
        let came = TcpStream::connect(("127.0.0.1", self.port));
        if let (Ok(_), Some(acceptor)) = (came, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener, target: u16) {
        for client in listener.incoming() {
            let weather = self.weather();
            let (ended, refuse) = (weather.ended, weather.refuse);
            drop(weather);
            if ended {
                return;
            }
            // A client that is refused, or whose broker is down, sees its connection closed.
            if let (Ok(client), false) = (client, refuse)
                && let Ok(broker) = TcpStream::connect(("127.0.0.1", target))
            {
                // Without memory for a thread, the connection is closed as well.
                let _ = self.carry(client, broker);
            }
        }
    }

    fn carry(self: &Arc<Self>, client: TcpStream, broker: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let connection = Arc::new(Connection {
            client,
            broker,
            swallowed: Default::default(),
        });
        let mut all = self.connections();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&connection));
        drop(all);
        for direction in [Direction::Requests, Direction::Responses] {
            let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || shared.pump(&connection, direction))?;
        }
        Ok(())
    }

    /// Forwards one direction of a connection until it ends, and then ends the other.
    fn pump(&self, connection: &Connection, direction: Direction) {
        let (mut from, mut to) = match direction {
            Direction::Requests => (&connection.client, &connection.broker),
            Direction::Responses => (&connection.broker, &connection.client),
        };
        let mut chunk = vec![0; CHUNK];
        while let Ok(read @ 1..) = from.read(&mut chunk) {
            let Some(delay) = self.wait(direction) else {
                break;
            };
            if !delay.is_zero() {
                thread::sleep(delay);
            }
            if connection.swallowed[direction as usize].load(Ordering::Relaxed) {
                continue;
            }
            if to.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        connection.close();
    }

    /// Waits while the direction is held, and returns how long to delay the data; `None` at the end.
    fn wait(&self, direction: Direction) -> Option<Duration> {
        let mut weather = self.weather();
        while weather.hold[direction as usize] && !weather.ended {
            weather = self
                .changed
                .wait(weather)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (!weather.ended).then_some(weather.delay)
    }

    fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.weather());
        self.changed.notify_all();
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Vec<Arc<Connection>> {
        self.connections()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl Connection {
    fn close(&self) {
        // An error means that the other side has already closed it.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}
