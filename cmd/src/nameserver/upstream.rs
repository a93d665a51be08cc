//! Questions that others answer: the name servers that this host itself asks, or those that the operator named.

use super::server::{read, send, write};
use super::{Exposed, PORT};
use dns::{ResponseCode, failure, is_answer};
use rand_core::{OsRng, RngCore};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Where this host's own name servers are listed.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long what stood there counts.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Name servers that are asked; the C library takes as many.
const SERVERS: usize = 3;
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Times each is asked.
const ROUNDS: usize = 2;
/// Questions under way at a time.
const AT_A_TIME: usize = 256;
/// Bytes of an answer over UDP.
const ANSWER: usize = 4096;

/// What somebody asked.
pub(super) struct Question {
    pub(super) bytes: Vec<u8>,
    pub(super) asker: Asker,
}

/// Where the answer goes, and over what the question is passed on.
pub(super) enum Asker {
    Udp(Arc<UdpSocket>, SocketAddr),
    Tcp(oneshot::Sender<Vec<u8>>),
}

/// Whom to ask.
pub(super) struct Upstream {
    /// Named by the operator; none: those of `/etc/resolv.conf`.
    named: Vec<SocketAddr>,
    /// Where this router itself answers: asking there would never end.
    own: Vec<SocketAddr>,
    exposed: Exposed,
    read: Option<(Instant, Vec<SocketAddr>)>,
}

impl Upstream {
    pub(super) fn new(named: Vec<SocketAddr>, own: Vec<SocketAddr>, exposed: Exposed) -> Self {
        Self {
            named,
            own,
            exposed,
            read: None,
        }
    }

    /// Passes on questions until nobody can ask any more.
    pub(super) async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        while let Some(question) = questions.recv().await {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let servers = self.servers();
            tokio::spawn(async move {
                question.answer(&servers).await;
                drop(place);
            });
        }
    }

    fn servers(&mut self) -> Vec<SocketAddr> {
        let is_old = |(at, _): &(Instant, Vec<SocketAddr>)| at.elapsed() >= READ_EVERY;
        if self.read.as_ref().is_none_or(is_old) {
            let mut servers = if self.named.is_empty() {
                listed(&std::fs::read_to_string(Path::new(RESOLV_CONF)).unwrap_or_default())
            } else {
                self.named.clone()
            };
            let exposed = self.exposed.read().unwrap_or_else(PoisonError::into_inner);
            let is_exposed =
                |server: &SocketAddr| server.port() == PORT && exposed.contains_key(&server.ip());
            servers
                .retain(|server| !is_exposed(server) && !self.own.iter().any(|own| is_same(*own, *server)));
            drop(exposed);
            self.read = Some((Instant::now(), servers));
        }
        self.read
            .as_ref()
            .map(|(_, servers)| servers.clone())
            .unwrap_or_default()
    }
}

/// Whether whoever listens at `own` would get what is sent to `server`.
fn is_same(own: SocketAddr, server: SocketAddr) -> bool {
    let is_here = || UdpSocket::bind((server.ip(), 0)).is_ok();
    own.port() == server.port() && (own.ip() == server.ip() || own.ip().is_unspecified() && is_here())
}

/// The name servers that a `resolv.conf` lists.
fn listed(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver"))
            .then(|| words.next())
            .flatten()
    });
    let addresses = lines.filter_map(|word| word.parse::<IpAddr>().ok());
    addresses
        .map(|address| SocketAddr::new(address, PORT))
        .take(SERVERS)
        .collect()
}

impl Question {
    /// Asks one server after the other, and tells the asker what came.
    async fn answer(self, servers: &[SocketAddr]) {
        let over_tcp = matches!(self.asker, Asker::Tcp(_));
        let mut found = None;
        for server in (0..ROUNDS).flat_map(|_| servers) {
            let asked = async {
                if over_tcp {
                    ask_tcp(*server, &self.bytes).await
                } else {
                    ask_udp(*server, &self.bytes).await
                }
            };
            if let Ok(Ok(answer)) = timeout(PATIENCE, asked).await {
                found = Some(answer);
                break;
            }
        }
        let Some(answer) = found.or_else(|| failure(&self.bytes, ResponseCode::ServFail)) else {
            return;
        };
        match self.asker {
            Asker::Udp(socket, to) => send(&socket, &answer, to),
            Asker::Tcp(asker) => drop(asker.send(answer)),
        }
    }
}

/// From a port and under an id of its own: who wants to forge the answer must guess both (RFC 5452).
async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let asked = with_id(question, id());
    socket.send(&asked).await?;
    let mut buffer = vec![0; ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_answer(&asked, &buffer[..length]) {
            return Ok(with_id(&buffer[..length], id_of(question)));
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let asked = with_id(question, id());
    write(&mut stream, &asked).await?;
    let answer = read(&mut stream).await?;
    if !is_answer(&asked, &answer) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(with_id(&answer, id_of(question)))
}

fn id() -> [u8; 2] {
    let mut id = [0; 2];
    OsRng.fill_bytes(&mut id);
    id
}

fn id_of(message: &[u8]) -> [u8; 2] {
    message.first_chunk().copied().unwrap_or_default()
}

fn with_id(message: &[u8], id: [u8; 2]) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(place) = message.first_chunk_mut() {
        *place = id;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_router_does_not_ask_itself() {
        let is = |own: &str, server: &str| is_same(own.parse().unwrap(), server.parse().unwrap());
        assert!(is("10.0.0.1:53", "10.0.0.1:53") && is("0.0.0.0:53", "127.0.0.1:53"));
        assert!(!is("10.0.0.1:53", "10.0.0.1:54") && !is("0.0.0.0:53", "192.0.2.1:53"));
    }

    #[test]
    fn name_servers_are_read_as_the_c_library_does() {
        let text = "# mine\nsearch example.org\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # two\n\
                    nameserver bad\nNameserver 192.0.2.9\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let expected = ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"];
        let expected: Vec<SocketAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(listed(text), expected);
        assert!(listed("").is_empty());
    }
}
