//! A question, and what is answered.

use crate::{TTL, Zone};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{self, DNSClass, RData, Record, RecordType};
use mesh::{Name, Vni};
use rand::Rng;
use rand::seq::SliceRandom as _;
use std::net::IpAddr;

/// Bytes of an answer over UDP to whoever does not say that more may come (RFC 1035, 4.2.1).
const PLAIN: usize = 512;
/// Bytes of an answer over UDP at most: what passes everywhere without being cut into fragments.
const MOST: u16 = 1232;
/// Bytes of the header.
const HEADER: usize = 12;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: an answer that is too long for one is cut, and asked for again over TCP.
    Udp,
    /// Over a stream.
    Tcp,
}

/// What is to be done about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send this.
    Answer(Vec<u8>),
    /// Ask somebody else: it is about nothing of this mesh.
    Forward,
    /// Nothing: whatever it is, it is no question.
    Silence,
}

/// What is found in the zone.
enum Found {
    /// Records, perhaps none: there is such a name.
    Records(Vec<Record>),
    /// There is no such name.
    NoName,
    /// The zone has nothing to say about it.
    Elsewhere,
}

impl Zone {
    /// What to answer to a question that came from a container of this network. Of several addresses each comes first
    /// as often as any other: `rng` decides.
    pub fn answer(&self, bytes: &[u8], vni: Vni, transport: Transport, rng: &mut impl Rng) -> Verdict {
        // Who answers answers starts a loop.
        if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
            return Verdict::Silence;
        }
        let Ok(request) = Message::from_vec(bytes) else {
            return answered(failure(bytes, ResponseCode::FormErr));
        };
        let edns = request.edns.as_ref();
        let (query, code) = match request.queries.as_slice() {
            _ if request.metadata.op_code != OpCode::Query => (None, ResponseCode::NotImp),
            _ if edns.is_some_and(|edns| edns.version() > 0) => (None, ResponseCode::BADVERS),
            [query] if query.query_class() == DNSClass::IN => (Some(query), ResponseCode::NoError),
            [_] => (None, ResponseCode::Refused),
            _ => (None, ResponseCode::FormErr),
        };
        let mut response = response_to(&request);
        response.metadata.response_code = code;
        if let Some(query) = query {
            match self.find(query, vni, rng) {
                Found::Elsewhere => return Verdict::Forward,
                Found::Records(records) => response.answers = records,
                Found::NoName => response.metadata.response_code = ResponseCode::NXDomain,
            }
            response.metadata.authoritative = true;
            if response.answers.is_empty() {
                response.add_authority(self.soa());
            }
        }
        let most = match (transport, edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => PLAIN,
            (Transport::Udp, Some(edns)) => usize::from(edns.max_payload().min(MOST)).max(PLAIN),
        };
        let whole = response.to_vec().ok().filter(|bytes| bytes.len() <= most);
        answered(whole.or_else(|| response.truncate().to_vec().ok()))
    }

    fn find(&self, query: &Query, vni: Vni, rng: &mut impl Rng) -> Found {
        let asked = query.name();
        if !self.domain.zone_of(asked) {
            return self.reverse(query, vni);
        }
        let below = asked.num_labels().saturating_sub(self.domain.num_labels());
        if below == 0 {
            let is_soa = matches!(query.query_type(), RecordType::SOA | RecordType::ANY);
            return Found::Records(is_soa.then(|| self.soa()).into_iter().collect());
        }
        let Some(name) = relative(asked, below.into()) else {
            return Found::NoName;
        };
        let Some(addresses) = self.addresses(vni, &name) else {
            return if self.is_above_others(vni, &name) {
                Found::Records(Vec::new())
            } else {
                Found::NoName
            };
        };
        let wanted = |address: &&IpAddr| match query.query_type() {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            kind => kind == RecordType::ANY,
        };
        let mut addresses: Vec<IpAddr> = addresses.iter().filter(wanted).copied().collect();
        addresses.shuffle(rng);
        let record = |address| {
            let data = match address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            };
            // As it was asked, letter by letter: some tell forged answers by that.
            Record::from_rdata(asked.clone(), TTL, data)
        };
        Found::Records(addresses.into_iter().map(record).collect())
    }

    /// The names of an address, if it has any in this mesh.
    fn reverse(&self, query: &Query, vni: Vni) -> Found {
        let asked = query.name();
        let Some(address) = asked
            .parse_arpa_name()
            .ok()
            .filter(|net| net.prefix_len() == net.max_prefix_len())
        else {
            return Found::Elsewhere;
        };
        let mut names = self.names(vni, &address.addr()).peekable();
        if names.peek().is_none() {
            return Found::Elsewhere;
        }
        let whole = |name: &Name| {
            rr::Name::from_ascii(format!("{name}."))
                .ok()?
                .append_domain(&self.domain)
                .ok()
        };
        let record = |name: &Name| {
            Some(Record::from_rdata(
                asked.clone(),
                TTL,
                RData::PTR(PTR(whole(name)?)),
            ))
        };
        let is_wanted = matches!(query.query_type(), RecordType::PTR | RecordType::ANY);
        Found::Records(names.filter(|_| is_wanted).filter_map(record).collect())
    }

    /// What stands in the place of answers that there are not (RFC 2308, 3).
    fn soa(&self) -> Record {
        let hostmaster = self.domain.prepend_label("hostmaster");
        let hostmaster = hostmaster.unwrap_or_else(|_| self.domain.clone());
        let ttl = i32::try_from(TTL).unwrap_or(1);
        let soa = SOA::new(self.domain.clone(), hostmaster, self.serial, ttl, ttl, ttl, TTL);
        Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa))
    }
}

/// The labels in front of the domain; `None` if there can be no such name.
fn relative(asked: &rr::Name, count: usize) -> Option<Name> {
    let labels: Option<Vec<&str>> = asked
        .iter()
        .take(count)
        .map(|label| std::str::from_utf8(label).ok())
        .collect();
    let labels = labels.filter(|labels| !labels.iter().any(|label| label.contains('.')))?;
    labels.join(".").parse().ok()
}

fn response_to(request: &Message) -> Message {
    let metadata = Metadata::response_from_request(&request.metadata);
    let mut response = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    response.metadata = metadata;
    response.metadata.recursion_available = true;
    response.queries.clone_from(&request.queries);
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MOST).set_version(0);
        response.set_edns(edns);
    }
    response
}

fn answered(bytes: Option<Vec<u8>>) -> Verdict {
    bytes.map_or(Verdict::Silence, Verdict::Answer)
}

/// An answer that says what went wrong; `None` if not even the header of the question can be read.
#[must_use]
pub fn failure(bytes: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let mut response = match Message::from_vec(bytes) {
        Ok(request) => response_to(&request),
        Err(_) => {
            let id = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
            Message::new(id, MessageType::Response, OpCode::Query)
        }
    };
    response.metadata.response_code = code;
    response.to_vec().ok()
}

/// Whether these bytes answer that question: same number, same name, kind and class.
#[must_use]
pub fn is_answer(question: &[u8], answer: &[u8]) -> bool {
    let (Ok(question), Ok(answer)) = (Message::from_vec(question), Message::from_vec(answer)) else {
        return false;
    };
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && answer.queries == question.queries
}
