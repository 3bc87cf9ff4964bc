//! A boot of Linux with shim and GRUB, as OVMF, shim 15.8 and GRUB 2.06 log it.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::EventType;

use super::{LogBuilder, len};

/// EFI_GLOBAL_VARIABLE.
pub const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// EFI_IMAGE_SECURITY_DATABASE_GUID.
pub const IMAGE_SECURITY: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// EFI_CERT_X509_GUID.
const CERT_X509: [u8; 16] =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// EFI_CERT_SHA256_GUID.
const CERT_SHA256: [u8; 16] =
    [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];
/// SignatureOwner of what these logs enrol.
const OWNER: [u8; 16] = [0x77; 16];

/// What was booted.
#[derive(Clone, Debug)]
pub struct LinuxBoot {
    /// Banks of the log.
    pub banks: Vec<HashAlgorithm>,
    /// Locality of TPM2_Startup; `None` where firmware does not state it.
    pub startup_locality: Option<u8>,
    /// Whether SecureBoot is 1. PK, KEK, db and dbx are the same either way.
    pub secure_boot: bool,
    /// The CA certificate in PK, KEK and db, in DER.
    pub certificate: Vec<u8>,
    /// How many images dbx forbids, at 48 bytes each.
    pub dbx_len: usize,
    /// How many commands GRUB runs before it starts the kernel.
    pub grub_commands: usize,
    /// The kernel's command line, its path included.
    pub kernel_cmdline: String,
}

impl Default for LinuxBoot {
    fn default() -> Self {
        Self {
            banks: vec![HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384],
            startup_locality: None,
            secure_boot: true,
            certificate: crate::Manufacturer::new("Fake UEFI CA").root(),
            dbx_len: 4,
            grub_commands: 6,
            kernel_cmdline: "/boot/vmlinuz-6.1.0-18-amd64 root=/dev/vda1 ro quiet".to_owned(),
        }
    }
}

impl LinuxBoot {
    /// Writes it all down.
    pub fn log(&self) -> LogBuilder {
        let mut log = LogBuilder::crypto_agile(&self.banks);
        if let Some(locality) = self.startup_locality {
            log.startup_locality(locality);
        }
        self.firmware(&mut log);
        self.secure_boot(&mut log);
        // Not 1 and 0: those four bytes are also the text of an error separator.
        let boot_order = uefi_variable(&GLOBAL, "BootOrder", &[1, 0, 0, 0]);
        log.measured(1, EventType::EFI_VARIABLE_BOOT, &[1, 0, 0, 0], &boot_order);
        log.event(4, EventType::EFI_ACTION, b"Calling EFI Application from Boot Option");
        for pcr in 0..7 {
            log.event(pcr, EventType::SEPARATOR, &[0; 4]);
        }
        self.boot_applications(&mut log);
        self.grub(&mut log);
        log.event(5, EventType::EFI_ACTION, b"Exit Boot Services Invocation");
        log.event(5, EventType::EFI_ACTION, b"Exit Boot Services Returned with Success");
        log
    }

    fn firmware(&self, log: &mut LogBuilder) {
        log.event(0, EventType::S_CRTM_VERSION, &utf16("Fake BIOS 1.0\0"));
        let volume: Vec<u8> = [0x0082_0000u64, 0xe_0000].iter().flat_map(|number| number.to_le_bytes()).collect();
        log.measured(0, EventType::EFI_PLATFORM_FIRMWARE_BLOB, b"a firmware volume", &volume);
    }

    fn secure_boot(&self, log: &mut LogBuilder) {
        let certificates = signature_list(&CERT_X509, &[&self.certificate]);
        let forbidden: Vec<Vec<u8>> =
            (0..self.dbx_len).map(|number| HashAlgorithm::Sha256.digest([number.to_le_bytes().as_slice()])).collect();
        let forbidden: Vec<&[u8]> = forbidden.iter().map(Vec::as_slice).collect();
        let dbx = if forbidden.is_empty() { Vec::new() } else { signature_list(&CERT_SHA256, &forbidden) };
        for (guid, name, data) in [
            (&GLOBAL, "SecureBoot", [u8::from(self.secure_boot)].as_slice()),
            (&GLOBAL, "PK", &certificates),
            (&GLOBAL, "KEK", &certificates),
            (&IMAGE_SECURITY, "db", &certificates),
            (&IMAGE_SECURITY, "dbx", &dbx),
        ] {
            log.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &uefi_variable(guid, name, data));
        }
        log.event(7, EventType::SEPARATOR, &[0; 4]);
    }

    fn boot_applications(&self, log: &mut LogBuilder) {
        if self.secure_boot {
            let authority = [OWNER.as_slice(), &self.certificate].concat();
            let authority = uefi_variable(&IMAGE_SECURITY, "db", &authority);
            log.event(7, EventType::EFI_VARIABLE_AUTHORITY, &authority);
        }
        for (image, path) in [("shim", "\\EFI\\fake\\shimx64.efi"), ("GRUB", "\\EFI\\fake\\grubx64.efi")] {
            let data = image_load_event(path);
            log.measured(4, EventType::EFI_BOOT_SERVICES_APPLICATION, image.as_bytes(), &data);
        }
        log.measured(14, EventType::IPL, b"MokListRT", b"MokList\0");
        log.measured(14, EventType::IPL, b"MokListXRT", b"MokListX\0");
    }

    fn grub(&self, log: &mut LogBuilder) {
        log.measured(9, EventType::IPL, b"set default=0", b"(hd0,gpt1)/boot/grub/grub.cfg\0");
        for number in 0..self.grub_commands {
            grub_text(log, "grub_cmd: ", &format!("set menu_entry_number_{number}=of the menu of this machine"));
        }
        grub_text(log, "grub_cmd: ", &format!("linux {}", self.kernel_cmdline));
        log.measured(9, EventType::IPL, b"a kernel", b"/boot/vmlinuz-6.1.0-18-amd64\0");
        grub_text(log, "kernel_cmdline: ", &self.kernel_cmdline);
        grub_text(log, "grub_cmd: ", "initrd /boot/initrd.img-6.1.0-18-amd64");
        log.measured(9, EventType::IPL, b"an initrd", b"/boot/initrd.img-6.1.0-18-amd64\0");
    }
}

/// GRUB hashes the text without its prefix and without the NUL at its end.
fn grub_text(log: &mut LogBuilder, prefix: &str, text: &str) {
    log.measured(8, EventType::IPL, text.as_bytes(), format!("{prefix}{text}\0").as_bytes());
}

/// UEFI_VARIABLE_DATA.
pub fn uefi_variable(guid: &[u8; 16], name: &str, data: &[u8]) -> Vec<u8> {
    let name = utf16(name);
    let mut bytes = guid.to_vec();
    bytes.extend(u64::from(len(name.len() / 2)).to_le_bytes());
    bytes.extend(u64::from(len(data.len())).to_le_bytes());
    bytes.extend(name);
    bytes.extend(data);
    bytes
}

/// EFI_SIGNATURE_LIST of signatures that are all as long as the first.
pub fn signature_list(signature_type: &[u8; 16], signatures: &[&[u8]]) -> Vec<u8> {
    let size = OWNER.len() + signatures.first().map_or(0, |signature| signature.len());
    let mut bytes = signature_type.to_vec();
    for number in [28 + size * signatures.len(), 0, size] {
        bytes.extend(len(number).to_le_bytes());
    }
    for signature in signatures {
        bytes.extend(OWNER);
        bytes.extend(*signature);
    }
    bytes
}

/// UEFI_IMAGE_LOAD_EVENT with a path of one file and the end.
fn image_load_event(path: &str) -> Vec<u8> {
    let path = utf16(&format!("{path}\0"));
    let mut node = vec![4, 4];
    node.extend(len(path.len() + 4).to_le_bytes().into_iter().take(2));
    node.extend(path);
    node.extend([0x7f, 0xff, 4, 0]);
    let mut bytes = Vec::new();
    for number in [0x7e00_0000, 0x10_0000, 0, u64::from(len(node.len()))] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(node);
    bytes
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
