//! Messages as bytes: what a descriptor says of them, and each way to spoil one field of a good one.

use std::collections::BTreeMap;

use plastron_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// More items than any list may have, and few enough for one message.
const MANY: usize = 5_100;
/// Longer than any name, identifier, text or request for a certificate.
const LONG: usize = 70_000;
/// What steers a terminal, forges a line, climbs out of a folder or ends a C string.
const HOSTILE: &str = "\u{1b}[2J\nlevel=error/../%2e\u{0}";

/// The interfaces.
pub(super) struct Interfaces {
    messages: BTreeMap<String, DescriptorProto>,
    pub(super) methods: Vec<MethodOf>,
}

/// An RPC as its descriptor has it.
pub(super) struct MethodOf {
    pub(super) path: String,
    input: String,
    output: String,
}

/// A field as it stands in a message: the payload without its length.
#[derive(Clone)]
struct Raw {
    number: u64,
    wire: u64,
    body: Vec<u8>,
}

/// A spoilt message.
pub(super) struct Spoilt {
    /// The field, by its names from the message down; empty for the message as a whole.
    pub(super) field: String,
    /// What was done to it.
    pub(super) how: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Interfaces {
    pub(super) fn read() -> Self {
        let mut interfaces = Self { messages: BTreeMap::new(), methods: Vec::new() };
        for set in [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for message in &file.message_type {
                    interfaces.add(&format!(".{}", file.package()), message);
                }
                for service in &file.service {
                    let method = |method: &prost_types::MethodDescriptorProto| MethodOf {
                        path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                        input: method.input_type().to_owned(),
                        output: method.output_type().to_owned(),
                    };
                    interfaces.methods.extend(service.method.iter().map(method));
                }
            }
        }
        interfaces
    }

    fn add(&mut self, parent: &str, message: &DescriptorProto) {
        let name = format!("{parent}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.messages.insert(name, message.clone());
    }

    /// Every way to spoil the message of a method, each applied to the good one alone.
    pub(super) fn spoil(&self, method: &MethodOf, good: &[u8]) -> Vec<Spoilt> {
        let mut spoilt = self.spoil_fields(&method.input, good);
        let mut whole = |how, bytes| spoilt.push(Spoilt { field: String::new(), how, bytes });
        whole("empty", Vec::new());
        whole("garbage", vec![0xff; 64]);
        whole("unknown field", [good, &write(&[Raw { number: 9_999, wire: 2, body: vec![b'x'; 64] }])].concat());
        whole("oversized", [good, &write(&[Raw { number: 9_999, wire: 2, body: vec![b'x'; 5 << 20] }])].concat());
        spoilt
    }

    fn spoil_fields(&self, message: &str, good: &[u8]) -> Vec<Spoilt> {
        let present = read(good);
        let mut all = Vec::new();
        for field in &self.messages[message].field {
            let number = u64::try_from(field.number()).unwrap();
            let of_field: Vec<_> = present.iter().filter(|raw| raw.number == number).cloned().collect();
            let others: Vec<_> = present.iter().filter(|raw| raw.number != number).cloned().collect();
            let with = |raws: &[Raw]| write(&[others.as_slice(), raws].concat());
            let named = |below: &str| match below {
                "" => field.name().to_owned(),
                below => format!("{}.{below}", field.name()),
            };
            for (how, raw) in faults(field) {
                all.push(Spoilt { field: named(""), how, bytes: with(&raw.map_or_else(Vec::new, |raw| vec![raw])) });
            }
            if field.label() == Label::Repeated {
                let item = of_field.first().cloned().unwrap_or(Raw { number, wire: 2, body: b"a".to_vec() });
                all.push(Spoilt { field: named(""), how: "many", bytes: with(&vec![item; MANY]) });
            }
            if let (Type::Message, Some(first)) = (field.r#type(), of_field.first()) {
                for Spoilt { field: below, how, bytes } in self.spoil_fields(field.type_name(), &first.body) {
                    let raw = Raw { body: bytes, ..first.clone() };
                    all.push(Spoilt { field: named(&below), how, bytes: with(&[raw]) });
                }
            }
        }
        all
    }

    /// The statuses of the items of a batch's answer, in their order.
    pub(super) fn items(&self, method: &MethodOf, answer: &[u8]) -> Vec<plastron_proto::types::Status> {
        let Some(results) = self.messages[&method.output].field.iter().find(|field| field.name() == "results") else {
            return Vec::new();
        };
        let status = self.messages[results.type_name()].field.iter().find(|field| field.name() == "status").unwrap();
        let of = |field: &FieldDescriptorProto, bytes: &[u8]| {
            let number = u64::try_from(field.number()).unwrap();
            read(bytes).into_iter().filter(move |raw| raw.number == number)
        };
        let code = |result: Raw| {
            let status = of(status, &result.body).next().map_or_else(Vec::new, |status| status.body);
            plastron_proto::types::Status::decode(status.as_slice()).unwrap()
        };
        of(results, answer).map(code).collect()
    }
}

/// Each fault that a field of this type can have; `None` leaves it out.
fn faults(field: &FieldDescriptorProto) -> Vec<(&'static str, Option<Raw>)> {
    let number = u64::try_from(field.number()).unwrap();
    let bytes = |body: &[u8]| Some(Raw { number, wire: 2, body: body.to_vec() });
    let varint = |value: u64| Some(Raw { number, wire: 0, body: encoded(value) });
    let mut faults = vec![("missing", None)];
    match field.r#type() {
        Type::String => {
            faults.extend([("not UTF-8", bytes(&[0xff, 0xfe])), ("hostile", bytes(HOSTILE.as_bytes()))]);
            faults.extend([("long", bytes(&[b'a'; LONG])), ("other type", varint(7))]);
        }
        Type::Bytes => {
            faults.extend([("garbage", bytes(&[0xff; 33])), ("long", bytes(&[0x30; LONG]))]);
            faults.push(("other type", varint(7)));
        }
        Type::Message => {
            faults.extend([("empty", bytes(&[])), ("truncated", bytes(&[0x0a, 0x7f]))]);
            faults.push(("other type", varint(7)));
        }
        _number => {
            faults.extend([("negative", varint(u64::MAX)), ("huge", varint(u64::MAX >> 1)), ("other", varint(99))]);
            // A list of numbers may come packed.
            faults.push(("other type", bytes(b"xyz\xff")));
        }
    }
    faults
}

fn read(mut bytes: &[u8]) -> Vec<Raw> {
    let mut raws = Vec::new();
    while !bytes.is_empty() {
        let key = prost::encoding::decode_varint(&mut bytes).unwrap();
        let body = match key & 7 {
            0 => encoded(prost::encoding::decode_varint(&mut bytes).unwrap()),
            2 => {
                let len = usize::try_from(prost::encoding::decode_varint(&mut bytes).unwrap()).unwrap();
                let (body, rest) = bytes.split_at(len);
                bytes = rest;
                body.to_vec()
            }
            other => panic!("no message here has fields of wire type {other}"),
        };
        raws.push(Raw { number: key >> 3, wire: key & 7, body });
    }
    raws
}

fn write(raws: &[Raw]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Raw { number, wire, body } in raws {
        bytes.extend(encoded(number << 3 | wire));
        if *wire == 2 {
            bytes.extend(encoded(u64::try_from(body.len()).unwrap()));
        }
        bytes.extend(body);
    }
    bytes
}

fn encoded(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(value, &mut bytes);
    bytes
}
