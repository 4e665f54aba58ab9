use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::Direction;
use super::link::Link;
use crate::ports::Port;

const SOON: Duration = Duration::from_secs(10);
/// Long enough that forwarded data would have arrived.
const SILENCE: Duration = Duration::from_millis(300);

/// A link in front of an echo server.
struct Echo {
    link: Link,
    _port: Port,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(mut client) = client else { return };
                thread::spawn(move || {
                    let mut byte = [0];
                    while client.read_exact(&mut byte).is_ok() && client.write_all(&byte).is_ok() {}
                });
            }
        });
        let port = Port::reserve().expect("a port");
        let link = Link::start(port.number, target).expect("a link");
        Self { link, _port: port }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", self.link.port())).expect("a connection");
        client
            .set_read_timeout(Some(SOON))
            .expect("a socket with a timeout");
        client
    }
}

fn ask(mut client: &TcpStream, byte: u8) {
    client.write_all(&[byte]).expect("sent");
}

fn answer(mut client: &TcpStream) -> std::io::Result<u8> {
    let mut byte = [0];
    client.read_exact(&mut byte).map(|()| byte[0])
}

fn is_silent(client: &TcpStream) -> bool {
    let short = client.set_read_timeout(Some(SILENCE));
    short.expect("a socket with a timeout");
    let heard = answer(client);
    let long = client.set_read_timeout(Some(SOON));
    long.expect("a socket with a timeout");
    heard.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn carries_both_ways() {
    let echo = Echo::start();
    let client = echo.connect();
    ask(&client, 7);
    assert_eq!(answer(&client).expect("an answer"), 7);
}

#[test]
fn a_cut_closes_what_there_is_and_lets_new_ones_through() {
    let echo = Echo::start();
    let old = echo.connect();
    ask(&old, 1);
    assert_eq!(answer(&old).expect("an answer"), 1);
    assert_eq!(echo.link.cut(), 1);
    assert!(answer(&old).is_err());
    let new = echo.connect();
    ask(&new, 2);
    assert_eq!(answer(&new).expect("an answer"), 2);
}

#[test]
fn refuses_until_it_is_told_not_to() {
    let echo = Echo::start();
    echo.link.refuse(true);
    assert!(answer(&echo.connect()).is_err());
    echo.link.refuse(false);
    let client = echo.connect();
    ask(&client, 3);
    assert_eq!(answer(&client).expect("an answer"), 3);
}

#[test]
fn what_is_held_up_arrives_later_in_order() {
    for direction in [Direction::Requests, Direction::Responses] {
        let echo = Echo::start();
        let client = echo.connect();
        echo.link.hold(direction, true);
        ask(&client, 4);
        ask(&client, 5);
        assert!(is_silent(&client), "{direction:?}");
        echo.link.hold(direction, false);
        assert_eq!(answer(&client).expect("an answer"), 4);
        assert_eq!(answer(&client).expect("an answer"), 5);
    }
}

#[test]
fn half_open_connections_stay_silent_and_new_ones_are_sound() {
    for direction in [Direction::Requests, Direction::Responses] {
        let echo = Echo::start();
        let client = echo.connect();
        ask(&client, 6);
        assert_eq!(answer(&client).expect("an answer"), 6);
        assert_eq!(echo.link.swallow(direction), 1);
        ask(&client, 7);
        assert!(is_silent(&client), "{direction:?}");
        let new = echo.connect();
        ask(&new, 8);
        assert_eq!(answer(&new).expect("an answer"), 8);
    }
}

#[test]
fn delays_each_way() {
    let echo = Echo::start();
    let client = echo.connect();
    echo.link.delay(Duration::from_millis(100));
    let asked = Instant::now();
    ask(&client, 9);
    assert_eq!(answer(&client).expect("an answer"), 9);
    assert!(asked.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_client_of_a_server_that_is_down_is_closed() {
    let port = Port::reserve().expect("a port");
    let nobody = Port::reserve().expect("a port");
    let _link = Link::start(port.number, nobody.number).expect("a link");
    let client = TcpStream::connect(("127.0.0.1", port.number)).expect("a connection");
    client
        .set_read_timeout(Some(SOON))
        .expect("a socket with a timeout");
    assert!(answer(&client).is_err_and(|error| error.kind() != ErrorKind::WouldBlock));
}
