//! Judges recorded EK certificates, quotes and event logs of other projects and real machines:
//! `cargo run -p plastron-attestation-appraise --example vectors -- DIR`, where DIR holds `index.tsv` with a path, its SHA-256 and the
//! expected result in each row. One line per row; the last line counts; the exit code is non-zero where a row failed.
//!
//! The vectors are other projects' data and are not copied into this repository. A row whose expectation is not understood fails.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a program, which reads files and prints; what it calls is pure"
)]

mod event_logs;
mod machine;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use der::Decode;
use plastron_attestation_appraise::{
    Check, Checklist, DenyList, EkEvidence, EkTrust, Pool, PoolConfig, TrustAnchors, TrustedEk,
    certificate_in_container, claimed_identity,
};
use plastron_attestation_tcg::{Attested, EkTemplate, HashAlgorithm, TpmsAttest, TpmtSignature, pcr_indices};
use x509_cert::Certificate;

type Outcome = Result<String, Box<dyn Error>>;

/// 2027-01-01: all certificates of the vectors that are to be trusted are valid then.
const NOW: u64 = 1_798_761_600;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: vectors DIR, where DIR holds index.tsv");
        return ExitCode::from(2);
    };
    match run(Path::new(&directory)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("can't read the vectors in {}: {error}", Path::new(&directory).display());
            ExitCode::from(2)
        }
    }
}

/// The rows of `index.tsv`, and the folder that holds what they name.
struct Index {
    directory: PathBuf,
    rows: Vec<Row>,
}

/// One row: what a file is expected to be.
struct Row {
    path: String,
    sha256: String,
    expected: String,
    /// How the expectation was obtained.
    oracle: String,
    /// PCR values per bank, for event logs.
    pcrs: String,
}

impl Index {
    fn read(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(directory.join("index.tsv"))?;
        let rows = text.lines().skip(1).map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [path, sha256, expected, oracle, _licence, pcrs] = columns.as_slice() else {
                return Err(format!("a row without six columns: {line:?}"));
            };
            let owned = |text: &str| text.to_owned();
            Ok(Row {
                path: owned(path),
                sha256: owned(sha256),
                expected: owned(expected),
                oracle: owned(oracle),
                pcrs: owned(pcrs),
            })
        });
        Ok(Self { directory: directory.to_owned(), rows: rows.collect::<Result<_, _>>()? })
    }

    /// The bytes of a row's file, which must be those that the index means.
    fn load(&self, row: &Row) -> Result<Vec<u8>, Box<dyn Error>> {
        let bytes = fs::read(self.directory.join(&row.path))?;
        if hex::encode(HashAlgorithm::Sha256.digest([bytes.as_slice()])) != row.sha256 {
            return Err("the file is not the one in the index".into());
        }
        Ok(bytes)
    }

    /// The row that a tampered file was made from, and its bytes.
    fn parent(&self, row: &Row) -> Result<(&Row, Vec<u8>), Box<dyn Error>> {
        let name = row.oracle.strip_prefix("made from ").ok_or("the row does not say what its file was made from")?;
        let parent = self.rows.iter().find(|row| row.path.strip_prefix("event-logs/") == Some(name));
        let parent = parent.ok_or_else(|| format!("{name}, from which the file was made, is not in the index"))?;
        Ok((parent, self.load(parent)?))
    }
}

fn run(directory: &Path) -> Result<bool, Box<dyn Error>> {
    let index = Index::read(directory)?;
    let (mut passed, mut failed) = (0, 0);
    for row in &index.rows {
        let Row { path, expected, .. } = row;
        match judge(&index, row) {
            Ok(what) => {
                println!("passed  {path}: {what}");
                passed += 1;
            }
            Err(error) => {
                println!("FAILED  {path}: {error}; expected: {expected}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if passed == 0 {
        return Err("the index has no row".into());
    }
    Ok(failed == 0)
}

fn judge(index: &Index, row: &Row) -> Outcome {
    let (directory, bytes) = (&index.directory, index.load(row)?);
    match row.path.split_once('/') {
        Some(("event-logs", _)) => event_logs::judge(index, row, &bytes),
        Some(("ek-certificates", _)) if row.expected.contains("must not be taken for an EK") => {
            refused(directory, &bytes)
        }
        Some(("ek-certificates", name)) if name.contains("_ek_") || name.contains("_st_") => {
            endorsed(directory, &bytes)
        }
        Some(("ek-certificates", _)) => {
            TrustAnchors::new(vec![bytes], Vec::new())?;
            Ok("a CA certificate that can be pinned".to_owned())
        }
        Some(("quotes", name)) => quote(&directory.join("quotes"), name, &bytes),
        _ => Err("no rule for this folder".into()),
    }
}

/// A certificate that is none of an EK: by its form, and, where it is over the key of an EK, before any path is looked for.
fn refused(directory: &Path, bytes: &[u8]) -> Outcome {
    let error = match claimed_identity(bytes) {
        Ok(identity) => return Err(format!("taken for an EK certificate of {identity:?}").into()),
        Err(error) => error,
    };
    match judge_ek(directory, bytes) {
        Ok(check) | Err(check) if check == Check::Subject || check == Check::EkPath => {
            Err(format!("the path was judged before the form: {check}").into())
        }
        _ => Ok(format!("refused by {}: {error}", error.check())),
    }
}

/// An EK certificate: its form always; its path where the index holds its issuers.
fn endorsed(directory: &Path, bytes: &[u8]) -> Outcome {
    let identity = claimed_identity(bytes)?;
    let named = format!("EK of {} {:?} {:?}", identity.manufacturer(), identity.model, identity.version);
    match judge_ek(directory, bytes) {
        Ok(_) => Ok(format!("{named}, path verified")),
        Err(Check::EkPath) => Ok(format!("{named}; its issuer is not among the vectors")),
        Err(other) => Err(format!("refused by {other}").into()),
    }
}

/// Judges the certificate over a public area that is made of its own key.
fn judge_ek(directory: &Path, container: &[u8]) -> Result<Check, Check> {
    let read = |name: &str| fs::read(directory.join("ek-certificates").join(name)).map_err(|_| Check::Malformed);
    let anchors =
        TrustAnchors::new(vec![read("swtpm_root.der")?], vec![read("swtpm_int.der")?]).map_err(|_| Check::Malformed)?;
    let der = certificate_in_container("EK", container).map_err(|error| error.check())?;
    let certificate = Certificate::from_der(der).map_err(|_| Check::EkCertificate)?;
    let key = certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec();
    let (template, unique) = match key.split_first() {
        Some((4, point)) if point.len() == 96 => (EkTemplate::H3P384, coordinates(point)),
        Some((4, point)) if point.len() == 64 => (EkTemplate::L2P256, coordinates(point)),
        _ => {
            let modulus = modulus(&key).ok_or(Check::EkCertificateKey)?;
            let template = if modulus.len() == 384 { EkTemplate::H6Rsa3072 } else { EkTemplate::L1Rsa2048 };
            (template, tpm2b(&modulus))
        }
    };
    let public = [template.public_before_unique(), unique].concat();
    let mut config = PoolConfig::new("vectors", EkTrust::Chain(anchors));
    config.ek_template = template;
    let pool = Pool::new(config).map_err(|_| Check::Pool)?;
    let evidence = EkEvidence { public: &public, certificate: Some(container), intermediates: &[] };
    TrustedEk::judge(evidence, &[pool], &DenyList::default(), NOW, &mut Checklist::new())
        .map(|_| Check::Subject)
        .map_err(|error| error.check())
}

fn coordinates(point: &[u8]) -> Vec<u8> {
    point.chunks(point.len() / 2).flat_map(tpm2b).collect()
}

fn modulus(key: &[u8]) -> Option<Vec<u8>> {
    let numbers = Vec::<der::asn1::Uint>::from_der(key).ok()?;
    Some(numbers.first()?.as_bytes().to_vec())
}

fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    let mut sized = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    sized.extend_from_slice(bytes);
    sized
}

/// One part of a quote, judged against the others of the same name.
fn quote(directory: &Path, name: &str, bytes: &[u8]) -> Outcome {
    let (stem, part) = name.split_once('.').ok_or("no part of a quote")?;
    let other = |part: &str| fs::read(directory.join(format!("{stem}.{part}")));
    let message = other("msg")?;
    let attest = TpmsAttest::parse(&message)?;
    let Attested::Quote { pcr_select, pcr_digest } = &attest.attested else { return Err("not a quote".into()) };
    match part {
        "msg" => compare_facts(&attest, &serde_json::from_slice(&other("json")?)?),
        "json" => {
            serde_json::from_slice::<serde_json::Value>(bytes)?;
            Ok("facts, compared with .msg".to_owned())
        }
        "sig.tpmt" | "sig.raw" => {
            let structure = other("sig.tpmt")?;
            let TpmtSignature::RsaSsa { hash, signature } = TpmtSignature::parse(&structure)? else {
                return Err("not RSASSA".into());
            };
            if other("sig.raw")? != signature {
                return Err("TPMT_SIGNATURE holds another signature than .sig.raw".into());
            }
            if hash == HashAlgorithm::Sha1 {
                return Ok("a SHA-1 signature: parses, and no AK of that kind is accepted".to_owned());
            }
            let key = der::Document::from_pem(&String::from_utf8(other("ak.pem")?)?)?.1;
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki_key(key.as_bytes())?)
                .verify(&message, signature)
                .map_err(|_| "the AK did not sign the quote")?;
            Ok(format!("verifies with {hash}"))
        }
        "pcrvals" => {
            let hash = TpmtSignature::parse(&other("sig.tpmt")?)?.hash();
            if hash.digest([bytes]) != *pcr_digest {
                return Err("the values do not hash to pcrDigest".into());
            }
            let pcrs: usize = pcr_select.iter().map(|bank| pcr_indices(bank.bitmap).count()).sum();
            Ok(format!("{pcrs} values hash to pcrDigest"))
        }
        "ak.pem" => {
            let key = der::Document::from_pem(std::str::from_utf8(bytes)?)?.1;
            spki_key(key.as_bytes())?;
            Ok("an AK".to_owned())
        }
        _ => Err("no rule for this part of a quote".into()),
    }
}

fn spki_key(spki: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(spki::SubjectPublicKeyInfoOwned::from_der(spki)?.subject_public_key.raw_bytes().to_vec())
}

fn compare_facts(attest: &TpmsAttest<'_>, facts: &serde_json::Value) -> Outcome {
    let Attested::Quote { pcr_select, pcr_digest } = &attest.attested else { return Err("not a quote".into()) };
    let clock = attest.clock_info;
    let select: Vec<_> = pcr_select
        .iter()
        .map(|bank| {
            let name = HashAlgorithm::from_id(bank.hash).map_or("unknown", HashAlgorithm::name);
            serde_json::json!([name, pcr_indices(bank.bitmap).collect::<Vec<_>>()])
        })
        .collect();
    let read = [
        ("magic", serde_json::json!(format!("{:#x}", attest.magic))),
        ("type", serde_json::json!(format!("{:#x}", attest.attest_type))),
        ("qualifiedSigner", serde_json::json!(hex::encode(attest.qualified_signer))),
        ("extraData", serde_json::json!(hex::encode(attest.extra_data))),
        ("clock", serde_json::json!(clock.clock)),
        ("resetCount", serde_json::json!(clock.reset_count)),
        ("restartCount", serde_json::json!(clock.restart_count)),
        ("safe", serde_json::json!(u8::from(clock.safe))),
        ("fw", serde_json::json!(format!("{:#x}", attest.firmware_version))),
        ("select", serde_json::json!(select)),
        ("pcrDigest", serde_json::json!(hex::encode(pcr_digest))),
    ];
    for (name, value) in &read {
        if facts.get(*name) != Some(value) {
            return Err(format!("{name} was read as {value}").into());
        }
    }
    Ok(format!("{} fields as expected", read.len()))
}
