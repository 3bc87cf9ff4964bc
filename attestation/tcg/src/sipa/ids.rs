//! Identifiers of SIPA events, by the names of Microsoft's `wbcl.h`, and what each one holds.

use std::fmt;

/// Top bit: the event is a note beside the log and was never measured.
const NON_MEASURED: u32 = 0x8000_0000;

/// Bit 30: the data are events again.
const AGGREGATION: u32 = 0x4000_0000;

/// An event's identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SipaEventId(pub u32);

/// What an event of a known identifier holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// One byte, 0 or 1.
    Flag,
    /// A little-endian number of 1, 2, 4 or 8 bytes.
    Number,
    /// UTF-16LE.
    Text,
    /// Digests, keys, structures.
    Bytes,
    /// Events.
    Events,
}

macro_rules! ids {
    ($($number:literal $name:ident $holds:ident,)+) => {
        #[expect(missing_docs, reason = "the names are Microsoft's")]
        impl SipaEventId {
            $(pub const $name: Self = Self($number);)+

            /// The name without `SIPAEVENT_`, if it is known.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)+
                    _ => None,
                }
            }

            pub(super) fn holds(self) -> Holds {
                match self {
                    $(Self::$name => Holds::$holds,)+
                    _ if self.is_aggregation() => Holds::Events,
                    _ => Holds::Bytes,
                }
            }
        }
    };
}

ids! {
    0x4001_0001 TRUSTBOUNDARY Events,
    0x4001_0002 ELAM_AGGREGATION Events,
    0x4001_0003 LOADEDMODULE_AGGREGATION Events,
    0xc001_0004 TRUSTPOINT_AGGREGATION Events,
    0x4001_0005 KSR_AGGREGATION Events,
    0x4001_0006 KSR_SIGNED_MEASUREMENT_AGGREGATION Events,
    0x0002_0001 INFORMATION Bytes,
    0x0002_0002 BOOTCOUNTER Number,
    0x0002_0003 TRANSFER_CONTROL Number,
    0x0002_0004 APPLICATION_RETURN Number,
    0x0002_0005 BITLOCKER_UNLOCK Number,
    0x0002_0006 EVENTCOUNTER Number,
    0x0002_0007 COUNTERID Number,
    0x0002_0008 MORBIT_NOT_CANCELABLE Flag,
    0x0002_0009 APPLICATION_SVN Number,
    0x0002_000a SVN_CHAIN_STATUS Number,
    0x0002_000b MORBIT_API_STATUS Number,
    0x0002_000c IDK_GENERATION_STATUS Number,
    0x0003_0001 FIRMWAREFAILURE Bytes,
    0x0003_0003 INTERNALFAILURE Bytes,
    0x0003_0005 HYPERVISORFAILURE Bytes,
    0x0004_0001 BOOTDEBUGGING Flag,
    0x0004_0002 BOOT_REVOCATION_LIST Bytes,
    0x0005_0001 OSKERNELDEBUG Flag,
    0x0005_0002 CODEINTEGRITY Flag,
    0x0005_0003 TESTSIGNING Flag,
    0x0005_0004 DATAEXECUTIONPREVENTION Number,
    0x0005_0005 SAFEMODE Flag,
    0x0005_0006 WINPE Flag,
    0x0005_0007 PHYSICALADDRESSEXTENSION Number,
    0x0005_0008 OSDEVICE Number,
    0x0005_0009 SYSTEMROOT Text,
    0x0005_000a HYPERVISOR_LAUNCH_TYPE Number,
    0x0005_000b HYPERVISOR_PATH Text,
    0x0005_000c HYPERVISOR_IOMMU_POLICY Number,
    0x0005_000d HYPERVISOR_DEBUG Flag,
    0x0005_000e DRIVER_LOAD_POLICY Number,
    0x0005_000f SI_POLICY Bytes,
    0x0005_0010 HYPERVISOR_MMIO_NX_POLICY Number,
    0x0005_0011 HYPERVISOR_MSR_FILTER_POLICY Number,
    0x0005_0012 VSM_LAUNCH_TYPE Number,
    0x0005_0013 OS_REVOCATION_LIST Bytes,
    0x0005_0014 SMT_STATUS Number,
    0x0005_0020 VSM_IDK_INFO Bytes,
    0x0005_0021 FLIGHTSIGNING Flag,
    0x0005_0022 PAGEFILE_ENCRYPTION_ENABLED Flag,
    0x0005_0023 VSM_IDKS_INFO Bytes,
    0x0005_0024 HIBERNATION_DISABLED Flag,
    0x0005_0025 DUMPS_DISABLED Flag,
    0x0005_0026 DUMP_ENCRYPTION_ENABLED Flag,
    0x0005_0027 DUMP_ENCRYPTION_KEY_DIGEST Bytes,
    0x0005_0028 LSAISO_CONFIG Number,
    0x0005_0029 SBCP_INFO Bytes,
    0x0005_0030 HYPERVISOR_BOOT_DMA_PROTECTION Flag,
    0x0005_0031 SI_POLICY_SIGNER Bytes,
    0x0005_0032 SI_POLICY_UPDATE_SIGNER Bytes,
    0x0005_0033 REFS_VOLUME_CHECKPOINT_RECORD_CHECKSUM Bytes,
    0x0005_0034 REFS_ROLLBACK_PROTECTION_FROZEN_VOLUME_CHECKSUM Bytes,
    0x0005_0035 REFS_ROLLBACK_PROTECTION_USER_PAYLOAD_HASH Bytes,
    0x0005_0036 REFS_ROLLBACK_PROTECTION_VERIFICATION_SUCCEEDED Flag,
    0x0005_0037 REFS_ROLLBACK_PROTECTION_VOLUME_FIRST_EVER_MOUNT Flag,
    0x0005_003a VSM_SEALED_SI_POLICY Bytes,
    0x0005_003b VSM_DRTM_KEYROLL_DETECTED Flag,
    0x0005_003c VSM_SRTM_UNSEAL_POLICY Bytes,
    0x0005_003d VSM_SRTM_ANTI_ROLLBACK_COUNTER Number,
    0x0005_0040 VTL1_DUMP_CONFIG Bytes,
    0x0006_0001 NOAUTHORITY Flag,
    0x0006_0002 AUTHORITYPUBKEY Bytes,
    0x0007_0001 FILEPATH Text,
    0x0007_0002 IMAGESIZE Number,
    0x0007_0003 HASHALGORITHMID Number,
    0x0007_0004 AUTHENTICODEHASH Bytes,
    0x0007_0005 AUTHORITYISSUER Text,
    0x0007_0006 AUTHORITYSERIAL Bytes,
    0x0007_0007 IMAGEBASE Number,
    0x0007_0008 AUTHORITYPUBLISHER Text,
    0x0007_0009 AUTHORITYSHA1THUMBPRINT Bytes,
    0x0007_000a IMAGEVALIDATED Flag,
    0x0007_000b MODULE_SVN Number,
    0x0007_000c MODULE_HSP Bytes,
    0x8008_0001 QUOTE Bytes,
    0x8008_0002 QUOTESIGNATURE Bytes,
    0x8008_0003 AIKID Bytes,
    0x8008_0004 AIKPUBDIGEST Bytes,
    0x0009_0001 ELAM_KEYNAME Text,
    0x0009_0002 ELAM_CONFIGURATION Bytes,
    0x0009_0003 ELAM_POLICY Bytes,
    0x0009_0004 ELAM_MEASURED Bytes,
    0x000a_0001 VBS_VSM_REQUIRED Flag,
    0x000a_0002 VBS_SECUREBOOT_REQUIRED Flag,
    0x000a_0003 VBS_IOMMU_REQUIRED Flag,
    0x000a_0004 VBS_MMIO_NX_REQUIRED Flag,
    0x000a_0005 VBS_MSR_FILTERING_REQUIRED Flag,
    0x000a_0006 VBS_MANDATORY_ENFORCEMENT Flag,
    0x000a_0007 VBS_HVCI_POLICY Number,
    0x000a_0008 VBS_MICROSOFT_BOOT_CHAIN_REQUIRED Flag,
    0x000a_0009 VBS_DUMP_USES_AMEROOT Flag,
    0x000a_000a VBS_VSM_NOSECRETS_ENFORCED Flag,
    0x000b_0001 KSR_SIGNATURE Bytes,
    0x000c_0001 DRTM_STATE_AUTH Bytes,
    0x000c_0002 DRTM_SMM_LEVEL Number,
    0x000c_0003 DRTM_AMD_SMM_HASH Bytes,
    0x000c_0004 DRTM_AMD_SMM_SIGNER_KEY Bytes,
}

impl SipaEventId {
    /// Whether the data are events again.
    pub fn is_aggregation(self) -> bool {
        self.0 & AGGREGATION != 0
    }

    /// Whether no PCR covers it, even where the event around it is covered.
    pub fn is_measured(self) -> bool {
        self.0 & NON_MEASURED == 0
    }
}

impl fmt::Display for SipaEventId {
    /// `SIPAEVENT_…`, or the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SIPAEVENT_{name}"),
            None => write!(f, "SIPAEVENT {:#010x}", self.0),
        }
    }
}

impl fmt::Debug for SipaEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
