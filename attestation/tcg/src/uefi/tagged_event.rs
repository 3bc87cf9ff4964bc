//! TCG_PCClientTaggedEvent (TCG PC Client Platform Firmware Profile 1.06, section 10.4.2.1), the data of EV_EVENT_TAG.

use crate::{ReadError, Reader};

/// taggedEventID of Linux's EFI stub for the initial RAM disk, whose content is what the digest is of.
pub const TAG_LINUX_INITRD: u32 = 0x8f3b_22ec;

/// taggedEventID of Linux's EFI stub for its LoadOptions, the kernel command line in UTF-16LE.
pub const TAG_LINUX_LOAD_OPTIONS: u32 = 0x8f3b_22ed;

/// taggedEventID of systemd-boot for its `loader.conf`.
pub const TAG_SYSTEMD_LOADER_CONF: u32 = 0xf5bc_582a;

/// taggedEventID of systemd-stub for a Device Tree addon.
pub const TAG_SYSTEMD_DEVICETREE_ADDON: u32 = 0x6c46_f751;

/// taggedEventID of systemd-stub for an initial RAM disk addon.
pub const TAG_SYSTEMD_INITRD_ADDON: u32 = 0x49df_fe0f;

/// taggedEventID of systemd-stub for a microcode addon.
pub const TAG_SYSTEMD_UCODE_ADDON: u32 = 0xdac0_8e1a;

/// taggedEventID of systemd-stub for the profile of a unified kernel image that was chosen.
pub const TAG_SYSTEMD_UKI_PROFILE: u32 = 0x13ae_d6db;

/// A tagged event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggedEvent<'a> {
    /// taggedEventID.
    pub id: u32,
    /// taggedEventData.
    pub data: &'a [u8],
}

impl<'a> TaggedEvent<'a> {
    /// Reads a structure that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("TCG_PCClientTaggedEvent", bytes);
        let id = reader.u32_le()?;
        let left = reader.left().saturating_sub(4);
        let len = reader.length_u32_le("bytes of taggedEventDataSize", left)?;
        let data = reader.take(len)?;
        reader.end()?;
        Ok(Self { id, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;

    #[test]
    fn a_tagged_event_is_read() {
        let bytes = [0xec, 0x22, 0x3b, 0x8f, 3, 0, 0, 0, b'a', b'b', b'c'];
        assert_eq!(TaggedEvent::parse(&bytes), Ok(TaggedEvent { id: TAG_LINUX_INITRD, data: b"abc" }));
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let error = TaggedEvent::parse(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap_err();
        assert_eq!(error.offset, 4);
        assert!(matches!(error.reason, ReadFault::TooMany { what: "bytes of taggedEventDataSize", limit: 0, .. }));
        assert_eq!(
            TaggedEvent::parse(&[1, 0, 0, 0, 0, 0, 0, 0, 9]).unwrap_err().reason,
            ReadFault::Trailing { left: 1 }
        );
        assert!(TaggedEvent::parse(&[1, 0, 0, 0, 0]).is_err());
    }
}
