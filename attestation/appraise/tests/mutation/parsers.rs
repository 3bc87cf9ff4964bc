//! Every parser of bytes that a node sends, with valid inputs to begin with.

#[path = "../machine/mod.rs"]
mod machine;

use std::hint::black_box;
use std::time::Duration;

use machine::Machine;
use plastron_attestation::{EkTemplate, TpmDevice};
use plastron_attestation_appraise::event_log::{Facts, Replay};
use plastron_attestation_appraise::{
    Checklist, DenyList, EkEvidence, EkTrust, Pool, PoolConfig, ReplayedImaList, TrustAnchors, TrustedEk,
    certificate_in_container, claimed_identity,
};
use plastron_attestation_fake_tpm::event_log::{LinuxBoot, LogBuilder, signature_list, uefi_variable};
use plastron_attestation_fake_tpm::ima_list::{ImaListBuilder, Kernel};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer};
use plastron_attestation_tcg::HashAlgorithm::{Sha1, Sha256};
use plastron_attestation_tcg::event_log::{EventType, RawLog};
use plastron_attestation_tcg::ima::ImaList;
use plastron_attestation_tcg::sipa::{SipaEvent, SipaEventId};
use plastron_attestation_tcg::uefi::{
    DevicePath, GptData, HandoffTables, ImageLoadEvent, LoadOption, PlatformFirmwareBlob, SignatureData, SignatureList,
    TaggedEvent, Variable, utf16_le,
};
use plastron_attestation_tcg::{TpmsAttest, TpmtPublic, TpmtSignature, parse_pcr_selection};
use plastron_spiffe::jwt::{UnverifiedJwt, validate};
use plastron_spiffe::{Bundle, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::UnixTime;

/// All that is done with an input; whether it was accepted.
type Run = Box<dyn Fn(&[u8]) -> bool>;

/// A parser, and all that is done with what it accepts.
pub(crate) struct Parser {
    pub(crate) name: &'static str,
    pub(crate) seeds: Vec<Vec<u8>>,
    pub(crate) run: Run,
}

fn parser(name: &'static str, seeds: Vec<Vec<u8>>, run: impl Fn(&[u8]) -> bool + 'static) -> Parser {
    Parser { name, seeds, run: Box::new(run) }
}

/// All of them. Recorded files, of whatever kind, become further seeds of those that they fit.
pub(crate) fn all(recorded: &[Vec<u8>]) -> Vec<Parser> {
    let mut parsers = vec![
        parser("event_log", event_logs(), event_log),
        parser("uefi_variable", variables(), |bytes| {
            black_box(Variable::parse(bytes)).is_ok() | black_box(Variable::parse_with_trailing(bytes)).is_ok()
        }),
        parser("signature_list", signature_lists(), |bytes| {
            _ = black_box(SignatureData::parse(bytes));
            black_box(SignatureList::parse_all(bytes)).is_ok()
        }),
        parser("device_path", device_paths(), |bytes| {
            DevicePath::parse(bytes).map(|path| black_box((path.to_string(), path.file_path()))).is_ok()
        }),
        parser("load_option", load_options(), |bytes| black_box(LoadOption::parse(bytes)).is_ok()),
        parser("uefi_events", uefi_events(), |bytes| {
            [
                black_box(ImageLoadEvent::parse(bytes)).is_ok(),
                black_box(PlatformFirmwareBlob::parse(bytes)).is_ok(),
                black_box(PlatformFirmwareBlob::parse2(bytes)).is_ok(),
                black_box(GptData::parse(bytes)).is_ok(),
                black_box(HandoffTables::parse(bytes)).is_ok(),
                black_box(HandoffTables::parse2(bytes)).is_ok(),
                black_box(TaggedEvent::parse(bytes)).is_ok(),
            ]
            .contains(&true)
                | black_box(utf16_le(bytes, 16)).is_ok()
        }),
        parser("sipa", sipa_events(), |bytes| {
            let Ok(events) = SipaEvent::parse_all(bytes) else { return false };
            for event in &events {
                event.walk(0, &mut |event, _| _ = black_box((event.value(), event.id.to_string())));
            }
            true
        }),
        ima_list(),
        ek_certificate(),
        revocation_list(),
        parser("tpmt_public", tpm_structures(|material| material.public), |bytes| {
            black_box(TpmtPublic::parse(bytes).map(|public| public.name())).is_ok()
        }),
        parser("tpms_attest", attests(), |bytes| black_box(TpmsAttest::parse(bytes)).is_ok()),
        parser("tpmt_signature", signatures(), |bytes| black_box(TpmtSignature::parse(bytes)).is_ok()),
        parser("pcr_selection", vec![hex("0000000200040300ffff000b03ffff00")], |bytes| {
            black_box(parse_pcr_selection(bytes)).is_ok()
        }),
        jwt(),
    ];
    for file in recorded {
        add_recorded(&mut parsers, file);
    }
    parsers
}

/// A workload hands its agent any token to validate, and a server one to its agent. Accepted is what has the form of a JWT-SVID.
fn jwt() -> Parser {
    let domain = TrustDomain::parse("td").unwrap();
    let bundle = include_bytes!("../../../../fuzz/seeds/jwt/bundle");
    let bundle = Bundle::from_spiffe_json(domain, bundle).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_798_761_600));
    let seeds = [
        include_str!("../../../../fuzz/seeds/jwt/es256"),
        include_str!("../../../../fuzz/seeds/jwt/rs256"),
        include_str!("../../../../fuzz/seeds/jwt/ps512"),
    ];
    for seed in seeds {
        validate(seed, "a", &bundle, now).unwrap();
    }
    parser("jwt", seeds.map(|seed| seed.as_bytes().to_vec()).into(), move |bytes| {
        let Ok(token) = std::str::from_utf8(bytes) else { return false };
        _ = black_box(validate(token, "a", &bundle, now));
        black_box(UnverifiedJwt::parse(token)).is_ok()
    })
}

/// A log, replayed in every bank, with all facts and the text of each event.
fn event_log(bytes: &[u8]) -> bool {
    let Ok(log) = RawLog::parse(bytes) else { return false };
    black_box(Replay::of(&log));
    black_box(Facts::read(&log));
    for event in log.events() {
        black_box(Facts::text(event));
    }
    true
}

fn event_logs() -> Vec<Vec<u8>> {
    let boot = |banks| LinuxBoot { banks, dbx_len: 2, grub_commands: 2, ..LinuxBoot::default() };
    let mut windows = LogBuilder::crypto_agile(&[Sha256]);
    windows.event(4, EventType::SEPARATOR, &[0; 4]);
    for sipa in sipa_events() {
        windows.event(12, EventType::EVENT_TAG, &sipa);
    }
    let mut old = LogBuilder::sha1();
    for variable in variables() {
        old.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &variable);
    }
    for pcr in 0..8 {
        old.event(pcr, EventType::SEPARATOR, &[0; 4]);
    }
    let started = LinuxBoot { startup_locality: Some(3), ..boot(vec![Sha256]) };
    [boot(vec![Sha1, Sha256]).log(), started.log(), windows, old].map(|log| log.bytes().to_vec()).into()
}

fn variables() -> Vec<Vec<u8>> {
    let mut variables = vec![
        uefi_variable(&[0x8b; 16], "SecureBoot", &[1]),
        uefi_variable(&[0x8b; 16], "PK", &[]),
        uefi_variable(&[0x60; 16], "SbatLevel", b"sbat,1,2021030218\n"),
    ];
    variables.extend(signature_lists().iter().map(|list| uefi_variable(&[0xcb; 16], "db", list)));
    variables.extend(load_options().iter().map(|option| uefi_variable(&[0x8b; 16], "Boot0001", option)));
    variables
}

fn signature_lists() -> Vec<Vec<u8>> {
    let (x509, sha256) = (hex("a159c0a5e494a74a87b5ab155c2bf072"), hex("2616c4c14c509240aca941f936934328"));
    let x509 = signature_list(&x509.try_into().unwrap(), &[&[0x30; 40]]);
    let sha256 = signature_list(&sha256.try_into().unwrap(), &[&[1; 32], &[2; 32]]);
    vec![[x509.as_slice(), &sha256].concat(), x509, sha256]
}

fn device_paths() -> Vec<Vec<u8>> {
    let disk = "02010c00d041030a00000000 01010600021f 03120a000000ffff0000 \
                04012a000100000000080000000000000050030000000000e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e10202 \
                040412005c0045005c0061002e0065000000 7fff0400";
    let network = "02010c00d041080a01000000 030b2500525400123456000000000000000000000000000000000000000000000000000001 \
                   030c1b000a0000020a00000100000000060000000000000000000000 0318080068747470 7fff0400";
    let volume = "04071400c9bdb87cebf8344faaea3ee4af6516a1 0406140021aa2c46147603458 36e8ab6f4662331 7fff0400";
    [disk, network, volume].map(hex).into()
}

fn load_options() -> Vec<Vec<u8>> {
    let option = |path: &Vec<u8>| {
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        bytes.extend("debian\0".encode_utf16().flat_map(u16::to_le_bytes));
        bytes.extend(path);
        bytes.extend(b"optional");
        bytes
    };
    device_paths().iter().map(option).collect()
}

fn uefi_events() -> Vec<Vec<u8>> {
    let mut events: Vec<Vec<u8>> = device_paths()
        .into_iter()
        .map(|path| {
            let numbers = [0x1000, 0x2000, 0, u64::try_from(path.len()).unwrap()];
            numbers.iter().flat_map(|number| number.to_le_bytes()).chain(path).collect()
        })
        .collect();
    events.push([0xff80_0000u64, 0x1000].iter().flat_map(|number| number.to_le_bytes()).collect());
    events.push([b"\x04POST".as_slice(), &[0; 16]].concat());
    events.push([&1u64.to_le_bytes(), [0x31; 24].as_slice()].concat());
    events.push([&hex("ec223b8f0d000000"), b"Linux initrd\0".as_slice()].concat());
    let mut table = [b"EFI PART".as_slice(), &[0; 76], &128u32.to_le_bytes(), &[0; 4], &1u64.to_le_bytes()].concat();
    table.extend([0x65; 128]);
    events.push(table);
    events
}

fn sipa_events() -> Vec<Vec<u8>> {
    let event = |id: SipaEventId, data: &[u8]| {
        [&id.0.to_le_bytes(), &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat()
    };
    let path: Vec<u8> = r"\Windows\ntoskrnl.exe".encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let module =
        [event(SipaEventId::FILEPATH, &path), event(SipaEventId::IMAGESIZE, &[0, 0, 1, 0, 0, 0, 0, 0])].concat();
    let module = event(SipaEventId::LOADEDMODULE_AGGREGATION, &module);
    let boundary = [event(SipaEventId::BOOTDEBUGGING, &[0]), module.clone(), module].concat();
    vec![event(SipaEventId::TRUSTBOUNDARY, &boundary), event(SipaEventId::BOOTCOUNTER, &9u64.to_le_bytes())]
}

/// A list, replayed against the quote of a machine that it is of.
fn ima_list() -> Parser {
    let mut machine = Machine::with_pcrs(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    machine.tpm.allocate(&[Sha1, Sha256]);
    let mut list = ImaListBuilder::booted(Kernel::Linux6_1, &machine.tpm);
    list.file("/init", b"init").signed_file("/bin/sh", b"sh", b"\x03\x02signature").violation("/var/log/messages");
    list.extend(&mut machine.tpm, list.len());
    let quote = machine.quote(1);
    let seeds = vec![list.bytes().to_vec(), ImaListBuilder::new(Kernel::Linux5_7).file("/x", b"x").bytes().to_vec()];
    parser("ima_list", seeds, move |bytes| {
        let Ok(list) = ImaList::parse(bytes) else { return false };
        let list = ReplayedImaList::verify(list, &quote, &mut Checklist::new());
        list.map(|list| black_box(list.facts())).is_ok()
    })
}

/// A certificate, as NV holds it, judged for the EK that the first seed is of.
fn ek_certificate() -> Parser {
    let manufacturer = Manufacturer::new("Acme");
    let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap();
    let mut config = PoolConfig::new("mutation", EkTrust::Chain(anchors));
    config.ek_template = EkTemplate::H3P384;
    let pools = [Pool::new(config).unwrap()];
    let mut tpm = FakeTpm::new(&manufacturer, EkTemplate::H3P384);
    let ek = tpm.endorsement_key(EkTemplate::H3P384).unwrap();
    let certificate = ek.certificate.unwrap();
    let padded = [certificate.as_slice(), &[0xff; 64]].concat();
    parser("ek_certificate", vec![certificate, padded, manufacturer.intermediate()], move |bytes| {
        _ = black_box(certificate_in_container("EK", bytes));
        _ = black_box(claimed_identity(bytes));
        let evidence = EkEvidence { public: &ek.public, certificate: Some(bytes), intermediates: &[] };
        black_box(TrustedEk::judge(evidence, &pools, &DenyList::default(), NOW, &mut Checklist::new())).is_ok()
    })
}

/// A revocation list, by the one root of a pool. Operators import them; what is in them, strangers wrote.
fn revocation_list() -> Parser {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key).unwrap().der().to_vec();
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 5, 1),
        next_update: date_time_ymd(2026, 7, 1),
        crl_number: SerialNumber::from(7),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked(1), revoked(0x8001)],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::new(params, key)).unwrap().der().to_vec();
    let anchors = TrustAnchors::new(vec![root], Vec::new()).unwrap();
    parser("revocation_list", vec![list], move |bytes| {
        black_box(anchors.clone().with_revocation_lists(&[bytes.to_vec()], 1)).is_ok()
    })
}

/// 2026-06-01.
const NOW: u64 = 1_780_272_000;

fn tpm_structures(of: fn(plastron_attestation::EkMaterial) -> Vec<u8>) -> Vec<Vec<u8>> {
    let manufacturer = Manufacturer::new("Acme");
    let templates = [EkTemplate::L1Rsa2048, EkTemplate::H3P384];
    templates.map(|template| of(FakeTpm::new(&manufacturer, template).endorsement_key(template).unwrap())).into()
}

fn attests() -> Vec<Vec<u8>> {
    let quote = "ff54434780180002aabb000301020300000000000003e80000000700000008010000000000000009\
                 00000002000b03010200000c03000000 0020";
    let certify = "ff54434780170002aabb000301020300000000000003e8000000070000000801000000000000000900020001 00020002";
    vec![[hex(quote), vec![0xcc; 32]].concat(), hex(certify)]
}

fn signatures() -> Vec<Vec<u8>> {
    vec![hex("0018000b0002010200030a0b0c"), [hex("0014000b0100"), vec![7; 256]].concat()]
}

fn hex(digits: &str) -> Vec<u8> {
    hex::decode(digits.replace(' ', "")).unwrap()
}

/// A file is a seed of each parser that accepts it; of a log, the data of its events are seeds as well.
fn add_recorded(parsers: &mut [Parser], file: &[u8]) {
    let mut add = |name: &str, bytes: &[u8]| {
        if let Some(parser) = parsers.iter_mut().find(|parser| parser.name == name) {
            parser.seeds.push(bytes.to_vec());
        }
    };
    if ImaList::parse(file).is_ok() {
        add("ima_list", file);
    }
    if claimed_identity(file).is_ok() {
        add("ek_certificate", file);
    }
    if TpmsAttest::parse(file).is_ok() {
        add("tpms_attest", file);
    }
    if TpmtSignature::parse(file).is_ok() {
        add("tpmt_signature", file);
    }
    let Ok(log) = RawLog::parse(file) else { return };
    add("event_log", file);
    for event in log.events() {
        if let Ok((variable, _)) = Variable::parse_with_trailing(event.data) {
            add("uefi_variable", event.data);
            if SignatureList::parse_all(variable.data).is_ok_and(|lists| !lists.is_empty()) {
                add("signature_list", variable.data);
            }
            if variable.name.starts_with("Boot0") {
                add("load_option", variable.data);
            }
        }
        if let Ok(image) = ImageLoadEvent::parse(event.data)
            && !image.device_path.nodes().is_empty()
        {
            add("uefi_events", event.data);
            add("device_path", event.data.get(32..).unwrap_or_default());
        }
        if (11..=14).contains(&event.pcr) && SipaEvent::parse_all(event.data).is_ok_and(|events| !events.is_empty()) {
            add("sipa", event.data);
        }
    }
}
