//! What a kubelet says to a runtime (CRI), by no more than `curl`: gRPC is a POST of HTTP/2, and a message of its is a byte, a
//! length and protobuf. `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto` names the numbers.

use crate::common::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A protobuf message.
#[derive(Default, Clone)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u32, number: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(number);
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn nest(self, field: u32, inner: &Self) -> Self {
        self.bytes(field, &inner.0)
    }

    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Numbers and, of everything else, bytes, of all fields with this number.
    fn all(&self, field: u32) -> Vec<(u64, &[u8])> {
        let (mut rest, mut found) = (self.0.as_slice(), Vec::new());
        while !rest.is_empty() {
            let tag = read(&mut rest);
            let value = match tag & 7 {
                0 => (read(&mut rest), &rest[..0]),
                2 => {
                    let length = read(&mut rest) as usize;
                    let (value, after) = rest.split_at(length);
                    rest = after;
                    (0, value)
                }
                kind => panic!("a field of kind {kind}"),
            };
            if tag >> 3 == u64::from(field) {
                found.push(value);
            }
        }
        found
    }

    fn inner(&self, field: u32) -> Self {
        Self(
            self.all(field)
                .first()
                .map_or_else(Vec::new, |(_, bytes)| bytes.to_vec()),
        )
    }

    fn string(&self, field: u32) -> String {
        String::from_utf8(self.inner(field).0).unwrap()
    }

    /// What is not there is zero.
    fn value(&self, field: u32) -> u64 {
        self.all(field).first().map_or(0, |(number, _)| *number)
    }
}

fn read(rest: &mut &[u8]) -> u64 {
    let mut number = 0;
    for at in 0.. {
        let (byte, after) = rest.split_first().unwrap();
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// A port of the host that leads to one of the pod.
pub(crate) struct HostPort {
    pub(crate) host: u16,
    pub(crate) container: u16,
}

/// A runtime.
pub(crate) struct Cri {
    socket: PathBuf,
    dir: PathBuf,
}

/// What is known of a pod.
#[derive(Debug)]
pub(crate) struct PodStatus {
    pub(crate) is_ready: bool,
    pub(crate) ips: Vec<String>,
}

impl Cri {
    pub(crate) fn new(socket: &Path, dir: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            dir: dir.to_owned(),
        }
    }

    /// Calls a method; the error is gRPC's code and what `curl` noted of it.
    fn call(&self, method: &str, message: &Message) -> Result<Message, String> {
        let [request, response, headers] =
            ["request", "response", "headers"].map(|name| self.dir.join(format!("cri-{name}")));
        let length = u32::try_from(message.0.len()).unwrap();
        let framed = [&[0][..], &length.to_be_bytes(), &message.0].concat();
        std::fs::write(&request, framed).unwrap();
        let _ = std::fs::remove_file(&response);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "50", "--http2-prior-knowledge"])
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
            .arg("--unix-socket")
            .arg(&self.socket)
            .arg("--data-binary")
            .arg(format!("@{}", request.display()))
            .arg("-D")
            .arg(&headers)
            .arg("-o")
            .arg(&response)
            .arg(format!("http://localhost/runtime.v1.RuntimeService/{method}"));
        run(curl, "").ok();
        let headers = std::fs::read_to_string(&headers).unwrap();
        let is_fine = headers.lines().any(|line| line.trim() == "grpc-status: 0");
        if !is_fine {
            return Err(format!("{method}: {headers}"));
        }
        let body = std::fs::read(&response).unwrap();
        Ok(Message(body[5..].to_vec()))
    }

    /// Whether the runtime says that its network is ready; `None`: it does not answer yet.
    pub(crate) fn network_ready(&self) -> Option<bool> {
        let status = self.call("Status", &Message::default()).ok()?.inner(1);
        let conditions = status.all(1);
        let mut conditions = conditions.iter().map(|(_, bytes)| Message(bytes.to_vec()));
        conditions
            .find(|condition| condition.string(1) == "NetworkReady")
            .map(|condition| condition.value(2) == 1)
    }

    /// Runs a pod; returns its id.
    pub(crate) fn run_pod(&self, name: &str, ports: &[HostPort]) -> Result<String, String> {
        let metadata = Message::default()
            .text(1, name)
            .text(2, &format!("uid-{name}"))
            .text(3, "default");
        let mut config = Message::default()
            .nest(1, &metadata)
            .text(2, name)
            .text(3, self.dir.to_str().unwrap());
        for port in ports {
            let mapping = Message::default()
                .number(2, port.container.into())
                .number(3, port.host.into());
            config = config.nest(5, &mapping);
        }
        let linux = Message::default().text(1, &format!("/weft-test-{}", std::process::id()));
        config = config.nest(8, &linux);
        let ran = self.call("RunPodSandbox", &Message::default().nest(1, &config))?;
        Ok(ran.string(1))
    }

    pub(crate) fn stop_pod(&self, id: &str) {
        self.call("StopPodSandbox", &Message::default().text(1, id))
            .unwrap();
    }

    pub(crate) fn remove_pod(&self, id: &str) {
        self.call("RemovePodSandbox", &Message::default().text(1, id))
            .unwrap();
    }

    /// The ids of all pods, also of those that never came to be.
    pub(crate) fn pods(&self) -> Vec<String> {
        let listed = self.call("ListPodSandbox", &Message::default()).unwrap();
        let all = listed.all(1).into_iter();
        all.map(|(_, pod)| Message(pod.to_vec()).string(1)).collect()
    }

    pub(crate) fn pod(&self, id: &str) -> Result<PodStatus, String> {
        let status = self
            .call("PodSandboxStatus", &Message::default().text(1, id))?
            .inner(1);
        let network = status.inner(5);
        let more = network.all(2);
        let more = more.iter().map(|(_, bytes)| Message(bytes.to_vec()).string(1));
        Ok(PodStatus {
            is_ready: status.value(3) == 0,
            ips: [network.string(1)].into_iter().chain(more).collect(),
        })
    }
}
