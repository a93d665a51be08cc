use super::*;
use proptest::prelude::*;

fn peer() -> impl Strategy<Value = PeerId> {
    any::<[u8; 32]>().prop_map(PeerId)
}

fn have() -> impl Strategy<Value = Have> {
    let name = any::<([u8; 8], u8, u64)>();
    (any::<[u8; 8]>(), name, any::<(u64, u64)>()).prop_map(|(mark, name, (epoch, counter))| Have {
        mark,
        origin: ShortId(name.0),
        kind: name.1,
        subkey: name.2,
        epoch,
        counter,
    })
}

fn blob() -> impl Strategy<Value = Blob> {
    prop::collection::vec(any::<u8>(), 0..99).prop_map(Blob)
}

fn record() -> impl Strategy<Value = Arc<Record>> {
    (
        any::<u8>(),
        any::<(u8, u64)>(),
        prop::collection::vec(any::<u8>(), 0..99),
    )
        .prop_map(|(n, slot, body)| crate::testing::record(n, slot, (1, 2), &body))
}

fn marks() -> impl Strategy<Value = Marks> {
    prop::collection::vec(any::<u64>(), 0..40).prop_map(Marks)
}

fn news() -> impl Strategy<Value = News> {
    (marks(), any::<bool>()).prop_map(|(marks, more)| News { marks, more })
}

fn hello() -> impl Strategy<Value = Hello> {
    let address = (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
    ("[!-~]{1,63}", any::<(u16, u16, u64, u64, u64)>(), address).prop_map(|(name, numbers, observed)| {
        let (version_min, version_max, instance, epoch, number) = numbers;
        Hello {
            version_min,
            version_max,
            name: name.parse().unwrap(),
            instance,
            epoch,
            observed,
            number,
        }
    })
}

fn routed() -> impl Strategy<Value = Routed> {
    (peer(), prop::collection::vec(peer(), 0..9), any::<u8>(), blob()).prop_map(
        |(origin, path, cursor, payload)| Routed {
            origin,
            path,
            cursor,
            payload,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::Hello),
        (any::<(u64, bool)>(), any::<Option<(u64, u32)>>(), news()).prop_map(
            |((number, reliable), echo, news)| {
                let echo = echo.map(|(number, held_us)| Echo { number, held_us });
                Message::Ping(Ping {
                    number,
                    reliable,
                    echo,
                    news,
                })
            }
        ),
        (any::<u64>(), news()).prop_map(|(number, news)| Message::Pong(Pong { number, news })),
        any::<bool>().prop_map(Message::Parent),
        marks().prop_map(Message::Want),
        Just(Message::Goodbye),
        Just(Message::Full),
        any::<bool>().prop_map(Message::Spare),
        prop::collection::vec(record(), 0..9).prop_map(|records| Message::Records(records.into())),
        any::<[u8; 32]>().prop_map(Message::Root),
        prop::collection::vec(any::<u64>(), 0..300).prop_map(Message::Buckets),
        (any::<(Vec<u8>, u64, u64)>(), marks()).prop_map(|((buckets, from, to), marks)| {
            Message::Held(Held {
                buckets,
                from,
                to,
                marks,
            })
        }),
        (
            any::<(Vec<u8>, bool)>(),
            marks(),
            prop::collection::vec(have(), 0..9)
        )
            .prop_map(|((buckets, more), want, have)| {
                Message::Differ(Differ {
                    buckets,
                    want,
                    have,
                    more,
                })
            }),
        (any::<Vec<u8>>(), marks()).prop_map(|(buckets, marks)| Message::Ask(Ask { buckets, marks })),
        routed().prop_map(Message::Routed),
    ]
}

proptest! {
    #[test]
    fn messages_round_trip_whatever_is_appended(message in message(), more in any::<Vec<u8>>()) {
        let mut bytes = message.encode();
        prop_assert_eq!(message.size(), bytes.len());
        bytes.extend(more);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), kind in 0..18_u8) {
        let _ = Message::decode(&bytes);
        let _ = Message::decode(&[&[kind], &bytes[..]].concat());
    }

    #[test]
    fn damaged_messages_are_read_or_refused(message in message(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Message::decode(&bytes);
        let _ = Message::decode(&bytes[..at]);
    }
}

#[test]
fn a_length_that_lies_allocates_nothing_of_that_size() {
    for kind in 0..18 {
        let bytes = [&[kind][..], &[0xff; 9], &[1]].concat();
        assert!(Message::decode(&bytes).is_err() || [3, 4, 11].contains(&kind));
    }
}
