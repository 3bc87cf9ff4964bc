//! UEFI_IMAGE_LOAD_EVENT (TCG PC Client Platform Firmware Profile 1.06, section 10.2.3).
//!
//! The digest of such an event is Authenticode's of the image: nothing here is covered by it.

use super::DevicePath;
use crate::{ReadError, Reader};

/// Longest device path of an image.
const MAX_DEVICE_PATH: usize = 1 << 16;

/// Where an image was loaded from, as its loader says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLoadEvent<'a> {
    /// ImageLocationInMemory.
    pub image_location_in_memory: u64,
    /// ImageLengthInMemory, in bytes.
    pub image_length_in_memory: u64,
    /// ImageLinkTimeAddress.
    pub image_link_time_address: u64,
    /// DevicePath; shim measures images without one.
    pub device_path: DevicePath<'a>,
    /// What follows the path: shim and some firmware count the structure's alignment in, and leave whatever lay there.
    pub trailing: &'a [u8],
}

impl<'a> ImageLoadEvent<'a> {
    /// Reads a structure that begins `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("UEFI_IMAGE_LOAD_EVENT", bytes);
        let image_location_in_memory = reader.u64_le()?;
        let image_length_in_memory = reader.u64_le()?;
        let image_link_time_address = reader.u64_le()?;
        let len = reader.length_u64_le("bytes of LengthOfDevicePath", MAX_DEVICE_PATH)?;
        let device_path = DevicePath::read(&mut reader, len)?;
        let trailing = reader.take(reader.left())?;
        Ok(Self { image_location_in_memory, image_length_in_memory, image_link_time_address, device_path, trailing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;

    fn event(len: u64, path: &[u8]) -> Vec<u8> {
        let numbers = [0x1000u64, 0x2000, 0, len];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(path);
        bytes
    }

    #[test]
    fn an_image_has_a_path() {
        let bytes = event(14, &[4, 4, 10, 0, b'\\', 0, b'E', 0, b'\0', 0, 0x7f, 0xff, 4, 0]);
        let event = ImageLoadEvent::parse(&bytes).unwrap();
        assert_eq!((event.image_location_in_memory, event.image_length_in_memory), (0x1000, 0x2000));
        assert_eq!(event.device_path.to_string(), r"\E");
    }

    #[test]
    fn an_image_of_shim_has_none_and_ends_in_padding() {
        assert_eq!(ImageLoadEvent::parse(&event(0, &[0xaf; 9])).unwrap().trailing, [0xaf; 9]);
        assert_eq!(ImageLoadEvent::parse(&event(0, &[])).unwrap().device_path.nodes(), []);
    }

    #[test]
    fn a_length_that_ends_within_a_node_is_refused() {
        let error = ImageLoadEvent::parse(&event(9, &[4, 4, 10, 0, b'\\', 0, b'E', 0, b'\0', 0])).unwrap_err();
        assert_eq!(error.offset, 32);
    }

    #[test]
    fn a_huge_length_is_refused_where_it_stands() {
        let error = ImageLoadEvent::parse(&event(u64::MAX, &[])).unwrap_err();
        assert_eq!(error.offset, 24);
        assert!(matches!(error.reason, ReadFault::TooMany { what: "bytes of LengthOfDevicePath", .. }));
    }
}
