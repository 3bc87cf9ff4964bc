//! EFI_LOAD_OPTION (UEFI Specification 2.10, section 3.1.3): the value of `Boot####`, `Driver####` and their like.

use super::{DevicePath, char16};
use crate::{ReadError, Reader};

/// Longest Description in characters of 16 bits.
pub const MAX_DESCRIPTION: usize = 1024;

/// LOAD_OPTION_ACTIVE.
pub const LOAD_OPTION_ACTIVE: u32 = 1;

/// An entry of the boot menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOption<'a> {
    /// Attributes.
    pub attributes: u32,
    /// Description, without its NUL.
    pub description: String,
    /// FilePathList: the first is what is booted, further ones are their vendor's.
    pub file_path_list: Vec<DevicePath<'a>>,
    /// OptionalData: passed to what is booted.
    pub optional_data: &'a [u8],
}

impl<'a> LoadOption<'a> {
    /// Reads an option that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("EFI_LOAD_OPTION", bytes);
        let attributes = reader.u32_le()?;
        let mut list_len = usize::from(reader.u16_le()?);
        let description = char16::read_until_nul(&mut reader, "characters of Description", MAX_DESCRIPTION)?;
        let mut file_path_list = Vec::new();
        while list_len > 0 {
            let before = reader.left();
            file_path_list.push(DevicePath::read_first(&mut reader, list_len)?);
            list_len -= before - reader.left();
        }
        let optional_data = reader.take(reader.left())?;
        Ok(Self { attributes, description, file_path_list, optional_data })
    }

    /// Whether the option takes part in booting.
    pub fn is_active(&self) -> bool {
        self.attributes & LOAD_OPTION_ACTIVE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;

    const PATHS: [u8; 18] = [4, 4, 10, 0, b'\\', 0, b'E', 0, 0, 0, 0x7f, 0xff, 4, 0, 0x7f, 0xff, 4, 0];

    fn option(list_len: u16, description: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut bytes = 1u32.to_le_bytes().to_vec();
        bytes.extend(list_len.to_le_bytes());
        bytes.extend(description.iter().flat_map(|byte| [*byte, 0]));
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn an_option_has_description_paths_and_optional_data() {
        let bytes = option(18, b"debian\0", &[PATHS.as_slice(), b"opt"].concat());
        let option = LoadOption::parse(&bytes).unwrap();
        assert!(option.is_active());
        assert_eq!((option.description.as_str(), option.optional_data), ("debian", b"opt".as_slice()));
        assert_eq!(option.file_path_list.iter().map(ToString::to_string).collect::<Vec<_>>(), [r"\E", ""]);
    }

    #[test]
    fn an_option_without_terminator_or_path_is_read() {
        let bytes = option(0, b"x", &[]);
        assert_eq!(LoadOption::parse(&bytes).unwrap().description, "x");
    }

    #[test]
    fn a_list_longer_than_the_option_is_refused() {
        let error = LoadOption::parse(&option(19, b"debian\0", &PATHS)).unwrap_err();
        assert!(matches!(error.reason, ReadFault::Short { .. }), "{error}");
        let error = LoadOption::parse(&option(17, b"debian\0", &PATHS)).unwrap_err();
        assert!(matches!(error.reason, ReadFault::Short { .. } | ReadFault::Value { .. }), "{error}");
    }

    #[test]
    fn an_endless_description_is_refused() {
        let error = LoadOption::parse(&option(0, &[b'x'; MAX_DESCRIPTION + 1], &[])).unwrap_err();
        assert!(matches!(error.reason, ReadFault::TooMany { what: "characters of Description", .. }), "{error}");
    }
}
