//! GUIDs that event logs hold, by the names of their specifications: UEFI 2.10 (sections 3.3 and 32), shim, Microsoft, EDK2.

use super::Guid;

macro_rules! guids {
    ($($(#[doc = $doc:literal])+ $constant:ident = ($data1:literal, $data2:literal, $data3:literal, $data4:literal);)+) => {
        $($(#[doc = $doc])+ pub const $constant: Guid = Guid::new($data1, $data2, $data3, $data4);)+

        /// The name of a GUID, if it is one of those in this file.
        pub fn name_of(guid: Guid) -> Option<&'static str> {
            match guid {
                $($constant => Some(stringify!($constant)),)+
                _ => None,
            }
        }
    };
}

guids! {
    /// Vendor of `SecureBoot`, `PK`, `KEK`, `BootOrder`, `Boot####`.
    EFI_GLOBAL_VARIABLE = (0x8be4_df61, 0x93ca, 0x11d2, 0xaa0d_00e0_9803_2b8c);
    /// Vendor of `db`, `dbx`, `dbt` and `dbr`.
    EFI_IMAGE_SECURITY_DATABASE_GUID = (0xd719_b2cb, 0x3d3a, 0x4596, 0xa3bc_dad0_0e67_656f);
    /// Vendor of shim's `MokList`, `Shim`, `SbatLevel` and their like.
    SHIM_LOCK_GUID = (0x605d_ab50, 0xe046, 0x4300, 0xabb6_3dd8_10dd_8b23);
    /// Owner of the signatures that Microsoft puts into `KEK`, `db` and `dbx`.
    MICROSOFT_SIGNATURE_OWNER = (0x77fa_9abd, 0x0359, 0x4d32, 0xbd60_28f4_e78f_784b);
    /// Vendor of the `Loader…` variables of systemd-boot and other boot loaders.
    LOADER_GUID = (0x4a67_b082, 0x0a4c, 0x41cf, 0xb6c7_440b_29bb_8c4f);
    /// Owner of the signatures that OVMF's enrolment program puts into `PK` and `KEK`.
    OVMF_ENROLL_SIGNATURE_OWNER = (0xa0ba_a8a3, 0x041d, 0x48a8, 0xbc87_c36d_121b_5e3d);
    /// Vendor of `MemoryTypeInformation` in EDK2.
    EFI_MEMORY_TYPE_INFORMATION_GUID = (0x4c19_049f, 0x4137, 0x4dd3, 0x9c10_8b97_a83f_fdfa);

    /// Signature: a SHA-256 digest.
    EFI_CERT_SHA256_GUID = (0xc1c4_1626, 0x504c, 0x4092, 0xaca9_41f9_3693_4328);
    /// Signature: an RSA-2048 modulus.
    EFI_CERT_RSA2048_GUID = (0x3c58_05b0, 0xac8d, 0x4f13, 0x8a1e_a9cc_8c7b_4d6e);
    /// Signature: an RSA-2048 signature of a SHA-256 digest.
    EFI_CERT_RSA2048_SHA256_GUID = (0xe2b3_6190, 0x879b, 0x4a3d, 0xad8d_f2e7_bba3_2784);
    /// Signature: a SHA-1 digest.
    EFI_CERT_SHA1_GUID = (0x826c_a512, 0xcf10, 0x4ac9, 0xb187_be01_4966_31bd);
    /// Signature: an RSA-2048 signature of a SHA-1 digest.
    EFI_CERT_RSA2048_SHA1_GUID = (0x67f8_444f, 0x8743, 0x48f1, 0xa328_1eaa_b873_6080);
    /// Signature: an X.509 certificate in DER.
    EFI_CERT_X509_GUID = (0xa5c0_59a1, 0x94e4, 0x4aa7, 0x87b5_ab15_5c2b_f072);
    /// Signature: a SHA-224 digest.
    EFI_CERT_SHA224_GUID = (0x0b6e_5233, 0xa65c, 0x44c9, 0x9407_d9ab_83bf_c8bd);
    /// Signature: a SHA-384 digest.
    EFI_CERT_SHA384_GUID = (0xff3e_5307, 0x9fd0, 0x48c9, 0x85f1_8ad5_6c70_1e01);
    /// Signature: a SHA-512 digest.
    EFI_CERT_SHA512_GUID = (0x093e_0fae, 0xa6c4, 0x4f50, 0x9f1b_d41e_2b89_c19a);
    /// Signature: SHA-256 of a certificate's TBS and the time of its revocation.
    EFI_CERT_X509_SHA256_GUID = (0x3bd2_a492, 0x96c0, 0x4079, 0xb420_fcf9_8ef1_03ed);
    /// Signature: SHA-384 of a certificate's TBS and the time of its revocation.
    EFI_CERT_X509_SHA384_GUID = (0x7076_876e, 0x80c2, 0x4ee6, 0xaad2_28b3_49a6_865b);
    /// Signature: SHA-512 of a certificate's TBS and the time of its revocation.
    EFI_CERT_X509_SHA512_GUID = (0x446d_bf63, 0x2502, 0x4cda, 0xbcfa_2465_d2b0_fe9d);
    /// Signature: PKCS #7.
    EFI_CERT_TYPE_PKCS7_GUID = (0x4aaf_d29d, 0x68df, 0x49ee, 0x8aa9_347d_3756_65a7);

    /// Partition type: EFI system partition.
    EFI_SYSTEM_PARTITION_GUID = (0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
    /// Configuration table: ACPI 2.0 and later.
    EFI_ACPI_20_TABLE_GUID = (0x8868_e871, 0xe4f1, 0x11d3, 0xbc22_0080_c73c_8881);
    /// Configuration table: ACPI 1.0.
    ACPI_TABLE_GUID = (0xeb9d_2d30, 0x2d88, 0x11d3, 0x9a16_0090_273f_c14d);
    /// Configuration table: SMBIOS 2.
    SMBIOS_TABLE_GUID = (0xeb9d_2d31, 0x2d88, 0x11d3, 0x9a16_0090_273f_c14d);
    /// Configuration table: SMBIOS 3.
    SMBIOS3_TABLE_GUID = (0xf2fd_1544, 0x9794, 0x4a2c, 0x992e_e5bb_cf20_e394);
    /// Configuration table: SAL system table of Itanium.
    SAL_SYSTEM_TABLE_GUID = (0xeb9d_2d32, 0x2d88, 0x11d3, 0x9a16_0090_273f_c14d);
    /// Configuration table: MPS.
    MPS_TABLE_GUID = (0xeb9d_2d2f, 0x2d88, 0x11d3, 0x9a16_0090_273f_c14d);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(name_of(EFI_CERT_X509_GUID), Some("EFI_CERT_X509_GUID"));
        assert_eq!(EFI_CERT_X509_GUID.to_string(), "a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
        assert_eq!(name_of(Guid::from_bytes([7; 16])), None);
    }
}
