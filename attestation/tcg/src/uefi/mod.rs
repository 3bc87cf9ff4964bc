//! What UEFI firmware puts into an event log: structures of the UEFI Specification 2.10 and of the TCG PC Client Platform Firmware
//! Profile 1.06, little-endian, one file each.
//!
//! Not here: the log (`event_log`), and whether a digest covers any of it.

mod char16;
mod device_path;
mod firmware_blob;
mod gpt;
mod guid;
mod handoff_tables;
mod image_load;
mod known_guids;
mod load_option;
mod signature_list;
mod tagged_event;
mod variable;

pub use char16::utf16_le;
pub use device_path::{DevicePath, DevicePathNode, MAX_DEVICE_PATH_NODES};
pub use firmware_blob::PlatformFirmwareBlob;
pub use gpt::{GptData, MAX_PARTITIONS, PartitionEntry};
pub use guid::Guid;
pub use handoff_tables::{ConfigurationTable, HandoffTables, MAX_HANDOFF_TABLES};
pub use image_load::ImageLoadEvent;
pub use known_guids::*;
pub use load_option::{LOAD_OPTION_ACTIVE, LoadOption, MAX_DESCRIPTION};
pub use signature_list::{MAX_SIGNATURE_LISTS, MAX_SIGNATURES, SignatureData, SignatureList};
pub use tagged_event::{
    TAG_LINUX_INITRD, TAG_LINUX_LOAD_OPTIONS, TAG_SYSTEMD_DEVICETREE_ADDON, TAG_SYSTEMD_INITRD_ADDON,
    TAG_SYSTEMD_LOADER_CONF, TAG_SYSTEMD_UCODE_ADDON, TAG_SYSTEMD_UKI_PROFILE, TaggedEvent,
};
pub use variable::{MAX_VARIABLE_DATA, MAX_VARIABLE_NAME, Variable};
