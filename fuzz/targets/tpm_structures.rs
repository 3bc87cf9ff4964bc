//! What a TPM, or who says that he is one, sends: TPMS_ATTEST, TPMT_PUBLIC, TPMT_SIGNATURE and a PCR selection.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_attestation_tcg::{
    MAX_BANKS, TpmsAttest, TpmtPublic, TpmtSignature, encode_pcr_selection, parse_pcr_selection,
};

fuzz_target!(|bytes: &[u8]| {
    let _ = black_box(TpmsAttest::parse(bytes));
    let _ = black_box(TpmtPublic::parse(bytes));
    let _ = black_box(TpmtSignature::parse(bytes));
    if let Ok(mut banks) = parse_pcr_selection(bytes) {
        // Only PCR 0 to 23 are written.
        banks.iter_mut().for_each(|bank| bank.bitmap &= 0x00ff_ffff);
        assert!(banks.len() <= MAX_BANKS, "more banks than allowed");
        let again = parse_pcr_selection(&encode_pcr_selection(&banks));
        assert_eq!(again.as_ref(), Ok(&banks), "a selection survives its own encoding");
    }
});
