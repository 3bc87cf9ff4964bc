//! What UEFI firmware puts into the events of a log: variables, signature lists, boot entries, device paths, tables.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use plastron_attestation_tcg::uefi::{
    DevicePath, GptData, HandoffTables, ImageLoadEvent, LoadOption, MAX_DEVICE_PATH_NODES, MAX_SIGNATURES,
    MAX_VARIABLE_NAME, PlatformFirmwareBlob, SignatureData, SignatureList, TaggedEvent, Variable,
};

fuzz_target!(|bytes: &[u8]| {
    values(bytes);
    if let Ok((variable, trailing)) = Variable::parse_with_trailing(bytes) {
        assert_eq!(Variable::parse(bytes).is_ok(), trailing.is_empty());
        assert!(variable.name.encode_utf16().count() <= MAX_VARIABLE_NAME);
        values(variable.data);
    }
    let _ = black_box(ImageLoadEvent::parse(bytes));
    let _ = black_box(PlatformFirmwareBlob::parse(bytes));
    let _ = black_box(PlatformFirmwareBlob::parse2(bytes));
    let _ = black_box(GptData::parse(bytes));
    let _ = black_box(HandoffTables::parse(bytes));
    let _ = black_box(HandoffTables::parse2(bytes));
    let _ = black_box(TaggedEvent::parse(bytes));
});

/// What a variable can hold.
fn values(bytes: &[u8]) {
    if let Ok(lists) = SignatureList::parse_all(bytes) {
        let signatures = lists.iter().flat_map(|list| &list.signatures);
        let (count, len) = signatures.fold((0, 0), |(count, len), signature| (count + 1, len + 16 + signature.data.len()));
        assert!(count <= MAX_SIGNATURES && len <= bytes.len(), "more signatures than there are");
    }
    let _ = black_box(SignatureData::parse(bytes));
    if let Ok(option) = LoadOption::parse(bytes) {
        option.file_path_list.iter().for_each(path);
    }
    if let Ok(parsed) = DevicePath::parse(bytes) {
        path(&parsed);
    }
}

fn path(path: &DevicePath<'_>) {
    assert!(path.nodes().len() <= MAX_DEVICE_PATH_NODES);
    let text = path.to_string();
    assert!(!text.contains(|character: char| character.is_control()), "a text that a terminal obeys: {text:?}");
    black_box(path.file_path());
}
