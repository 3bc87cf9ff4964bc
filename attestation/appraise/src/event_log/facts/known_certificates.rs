//! Certificates that many machines have in KEK, db and dbx, by the SHA-256 of their DER. A subject is whatever its issuer wrote; only
//! the fingerprint makes a certificate one of these.

/// The name that people know a certificate by.
pub(super) fn name_of(sha256: &[u8]) -> Option<&'static str> {
    let fingerprint = hex::encode(sha256);
    KNOWN.iter().find(|(known, _)| *known == fingerprint).map(|(_, name)| *name)
}

/// Fingerprint and subject's common name, as their owners publish them.
const KNOWN: &[(&str, &str)] = &[
    ("a1117f516a32cefcba3f2d1ace10a87972fd6bbe8fe0d0b996e09e65d802a503", "Microsoft Corporation KEK CA 2011"),
    ("3cd3f0309edae228767a976dd40d9f4affc4fbd5218f2e8cc3c9dd97e8ac6f9d", "Microsoft Corporation KEK 2K CA 2023"),
    ("2f569e8edaf9657dc4951c29598725255c7f821472db71374211fe44d082546f", "Windows OEM Devices PK"),
    ("e8e95f0733a55e8bad7be0a1413ee23c51fcea64b3c8fa6a786935fddcc71961", "Microsoft Windows Production PCA 2011"),
    ("076f1fea90ac29155ebf77c17682f75f1fdd1be196da302dc8461e350a9ae330", "Windows UEFI CA 2023"),
    ("48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507", "Microsoft Corporation UEFI CA 2011"),
    ("f6124e34125bee3fe6d79a574eaa7b91c0e7bd9d929c1a321178efd611dad901", "Microsoft UEFI CA 2023"),
    ("e5be3e64c6e66a281457ecdece0d6d0787577aad2a3a0144262c10c14ba8d8f1", "Microsoft Option ROM UEFI CA 2023"),
];
