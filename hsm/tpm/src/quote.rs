//! TPM2_Quote, and the PCR values that it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use plastron_attestation::{PcrSelection, QuoteBytes, TpmDeviceError};
use plastron_attestation_tcg::HashAlgorithm;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{AttestInfo, Data, PcrSelectionList, SignatureScheme};
use tss_esapi::traits::Marshall;
use tss_esapi::tss2_esys::{TPML_PCR_SELECTION, TPMS_PCR_SELECTION};

use crate::link::Link;
use crate::session::malformed;

/// PCRs 0 to 23 (TCG PC Client Platform TPM Profile): three bytes of bitmap.
const PCRS: u32 = 24;
const SELECT_LEN: u8 = 3;
/// How often values are read and quoted because a PCR was extended meanwhile: one that moves more often does not stop by itself.
const ATTEMPTS: u32 = 3;
/// A read returns at most eight values and at least one, so more reads than values are a TPM that does not end.
const MAX_READS: usize = 128;

/// Quotes, and reads the values until they are those that the quote is about.
pub(crate) fn run(
    link: &mut Link,
    ak: KeyHandle,
    hash: HashAlgorithm,
    extra_data: &[u8],
    selection: &PcrSelection,
) -> Result<QuoteBytes, TpmDeviceError> {
    let extra_data = Data::try_from(extra_data.to_vec())
        .map_err(|error| TpmDeviceError::Command { command: "Quote", reason: format!("extraData: {error}") })?;
    let asked = encode(selection)?;
    let mut moved = Moved::default();
    for _ in 0..ATTEMPTS {
        let Reading { values, steady } = read_values(link, selection)?;
        let pcr_values = in_order(&values, selection);
        moved.see(values);
        if !steady {
            continue;
        }
        // The AK's value is empty; a session that authenticated the answer would add nothing to its signature, and 4 ms.
        let (attest, signature) = link.command("Quote", |context| {
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.quote(ak, extra_data.clone(), SignatureScheme::Null, asked.clone())
            })
        })?;
        let AttestInfo::Quote { info } = attest.attested() else {
            return Err(malformed("Quote", "an attestation of another type"));
        };
        if info.pcr_digest()[..] != hash.digest(pcr_values.iter().map(Vec::as_slice)) {
            continue;
        }
        let attest = attest.marshall().map_err(|error| malformed("Quote", error.to_string()))?;
        let signature = signature.marshall().map_err(|error| malformed("Quote", error.to_string()))?;
        return Ok(QuoteBytes { attest, signature, pcr_values });
    }
    // The last attempt's values have nothing after them to be compared with yet.
    moved.see(read_values(link, selection)?.values);
    Err(TpmDeviceError::PcrChanging { attempts: ATTEMPTS, pcrs: moved.to_string() })
}

/// PCR values, by bank and index.
type Values = BTreeMap<(u16, u32), Vec<u8>>;

/// What TPM2_PCR_Read told.
struct Reading {
    values: Values,
    /// No PCR was extended between two of the reads.
    steady: bool,
}

/// Which PCRs differed between two readings.
#[derive(Default)]
struct Moved {
    last: Values,
    pcrs: BTreeSet<(u16, u32)>,
}

impl Moved {
    fn see(&mut self, values: Values) {
        for (pcr, value) in &values {
            if self.last.get(pcr).is_some_and(|before| before != value) {
                self.pcrs.insert(*pcr);
            }
        }
        self.last.extend(values);
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pcrs.is_empty() {
            return f.write_str("none of those that are quoted: another one");
        }
        for (count, (bank, pcr)) in self.pcrs.iter().enumerate() {
            let separator = if count == 0 { "" } else { ", " };
            match HashAlgorithm::from_id(*bank) {
                Some(bank) => write!(f, "{separator}{bank}:{pcr}")?,
                None => write!(f, "{separator}{bank:#06x}:{pcr}")?,
            }
        }
        Ok(())
    }
}

/// The selection, its banks in the order asked for. (tss-esapi's own builder keeps no order.)
fn encode(selection: &PcrSelection) -> Result<PcrSelectionList, TpmDeviceError> {
    let refused = |reason: String| TpmDeviceError::Command { command: "Quote", reason };
    let mut list = TPML_PCR_SELECTION::default();
    if selection.0.len() > list.pcrSelections.len() {
        return Err(refused(format!("a selection of {} banks", selection.0.len())));
    }
    for ((bank, pcrs), place) in selection.0.iter().zip(list.pcrSelections.iter_mut()) {
        if HashAlgorithm::from_id(*bank).is_none() || *pcrs >= 1 << PCRS {
            return Err(refused(format!("a selection of PCRs {pcrs:#x} in bank {bank:#06x}")));
        }
        *place = TPMS_PCR_SELECTION { hash: *bank, sizeofSelect: SELECT_LEN, pcrSelect: pcrs.to_le_bytes() };
        list.count += 1;
    }
    PcrSelectionList::try_from(list).map_err(|error| refused(error.to_string()))
}

/// The bitmap of one bank, PCR 0 in the lowest bit.
pub(crate) fn bitmap(bank: &TPMS_PCR_SELECTION) -> u32 {
    let mut bytes = [0; 4];
    let length = usize::from(bank.sizeofSelect.min(SELECT_LEN));
    for (to, from) in bytes.iter_mut().zip(bank.pcrSelect.iter().take(length)) {
        *to = *from;
    }
    u32::from_le_bytes(bytes)
}

/// The values of a selection; a bank that is not allocated has none. Ends early if a PCR was extended between two of the reads.
fn read_values(link: &mut Link, selection: &PcrSelection) -> Result<Reading, TpmDeviceError> {
    let mut values = BTreeMap::new();
    let mut left = selection.clone();
    let mut first_counter = None;
    for _ in 0..MAX_READS {
        left.0.retain(|(_, pcrs)| *pcrs != 0);
        if left.0.is_empty() {
            break;
        }
        let asked = encode(&left)?;
        let (counter, got, digests) = link.command("PCR_Read", |context| {
            context.execute_without_session(|context| context.pcr_read(asked.clone()))
        })?;
        if *first_counter.get_or_insert(counter) != counter {
            return Ok(Reading { values, steady: false });
        }
        let got = TPML_PCR_SELECTION::from(got);
        let count = usize::try_from(got.count).unwrap_or(usize::MAX);
        let mut digests = digests.value().iter();
        let mut read_any = false;
        for bank in got.pcrSelections.iter().take(count) {
            for pcr in (0..PCRS).filter(|pcr| bitmap(bank) & (1 << pcr) != 0) {
                let digest = digests.next().ok_or_else(|| malformed("PCR_Read", "fewer values than it says"))?;
                let expected = HashAlgorithm::from_id(bank.hash).map(HashAlgorithm::digest_len);
                if expected != Some(digest.len()) {
                    let reason = format!("a value of {} bytes in bank {:#06x}", digest.len(), bank.hash);
                    return Err(malformed("PCR_Read", reason));
                }
                for (_, pcrs) in left.0.iter_mut().filter(|(asked, _)| *asked == bank.hash) {
                    *pcrs &= !(1 << pcr);
                }
                values.insert((bank.hash, pcr), digest.to_vec());
                read_any = true;
            }
        }
        if digests.next().is_some() {
            return Err(malformed("PCR_Read", "more values than it says"));
        }
        if !read_any {
            // What is left is not allocated.
            break;
        }
    }
    Ok(Reading { values, steady: true })
}

/// Bank by bank, rising index.
fn in_order(values: &Values, selection: &PcrSelection) -> Vec<Vec<u8>> {
    let mut ordered = Vec::new();
    for (bank, pcrs) in &selection.0 {
        for pcr in (0..PCRS).filter(|pcr| pcrs & (1 << pcr) != 0) {
            ordered.extend(values.get(&(*bank, pcr)).cloned());
        }
    }
    ordered
}
