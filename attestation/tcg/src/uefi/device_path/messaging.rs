//! Messaging device path nodes (UEFI Specification 2.10, section 10.3.4), as far as boot devices have them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{hex, printable, vendor};
use crate::Reader;
use crate::uefi::{Guid, char16};

/// Longest serial number of a USB device in characters.
const MAX_SERIAL: usize = 1024;

/// The text of a node; `None` where type or shape is unknown.
pub(super) fn text(sub_type: u8, mut reader: Reader<'_>) -> Option<String> {
    let text = match sub_type {
        1 => {
            let (secondary, slave) = (reader.u8().ok()?, reader.u8().ok()?);
            format!("Ata({secondary:#x},{slave:#x},{:#x})", reader.u16_le().ok()?)
        }
        2 => {
            let (target, lun) = (reader.u16_le().ok()?, reader.u16_le().ok()?);
            format!("Scsi({target:#x},{lun:#x})")
        }
        3 => {
            reader.u32_le().ok()?;
            let (wwn, lun) = (reader.u64_le().ok()?, reader.u64_le().ok()?);
            format!("Fibre({wwn:#x},{lun:#x})")
        }
        5 => {
            let (port, interface) = (reader.u8().ok()?, reader.u8().ok()?);
            format!("USB({port:#x},{interface:#x})")
        }
        10 => return vendor("VenMsg", reader),
        11 => mac_address(&mut reader)?,
        12 => ipv4(&mut reader)?,
        13 => ipv6(&mut reader)?,
        14 => uart(&mut reader)?,
        15 => {
            let (vendor, product) = (reader.u16_le().ok()?, reader.u16_le().ok()?);
            let (class, sub_class, protocol) = (reader.u8().ok()?, reader.u8().ok()?, reader.u8().ok()?);
            format!("UsbClass({vendor:#x},{product:#x},{class:#x},{sub_class:#x},{protocol:#x})")
        }
        16 => {
            let interface = reader.u16_le().ok()?;
            let (vendor, product) = (reader.u16_le().ok()?, reader.u16_le().ok()?);
            let serial = char16::read_until_nul(&mut reader, "characters of SerialNumber", MAX_SERIAL).ok()?;
            format!("UsbWwid({vendor:#x},{product:#x},{interface:#x},\"{}\")", printable(&serial))
        }
        17 => format!("Unit({:#x})", reader.u8().ok()?),
        18 => {
            let (port, multiplier) = (reader.u16_le().ok()?, reader.u16_le().ok()?);
            format!("Sata({port:#x},{multiplier:#x},{:#x})", reader.u16_le().ok()?)
        }
        19 => iscsi(&mut reader)?,
        20 => format!("Vlan({})", reader.u16_le().ok()?),
        22 => {
            let (address, lun): ([u8; 8], [u8; 8]) = (reader.array().ok()?, reader.array().ok()?);
            let (topology, port) = (reader.u16_le().ok()?, reader.u16_le().ok()?);
            format!("SasEx({},{},{port:#x},{topology:#x})", hex(&address), hex(&lun))
        }
        23 => {
            let namespace = reader.u32_le().ok()?;
            let eui: [u8; 8] = reader.array().ok()?;
            let eui: Vec<String> = eui.iter().rev().map(|byte| format!("{byte:02X}")).collect();
            format!("NVMe({namespace:#x},{})", eui.join("-"))
        }
        24 => {
            let uri = reader.take(reader.left()).ok()?;
            format!("Uri({})", printable(std::str::from_utf8(uri).ok()?))
        }
        25 => {
            let (target, lun) = (reader.u8().ok()?, reader.u8().ok()?);
            format!("UFS({target:#x},{lun:#x})")
        }
        26 => format!("SD({:#x})", reader.u8().ok()?),
        27 => format!("Bluetooth({})", hex(reader.take(6).ok()?)),
        28 => {
            let ssid = reader.take(32).ok()?;
            let ssid = std::str::from_utf8(ssid).ok()?.trim_end_matches('\0');
            format!("Wi-Fi({})", printable(ssid))
        }
        29 => format!("eMMC({:#x})", reader.u8().ok()?),
        31 => dns(&mut reader)?,
        32 => format!("NVDIMM({})", Guid::read(&mut reader).ok()?),
        _ => return None,
    };
    reader.end().ok()?;
    Some(text)
}

/// 32 bytes of address, of which Ethernet uses six, and the type of interface.
fn mac_address(reader: &mut Reader<'_>) -> Option<String> {
    let address = reader.take(32).ok()?;
    let interface = reader.u8().ok()?;
    let len = if interface <= 1 { 6 } else { address.len() };
    Some(format!("MAC({},{interface:#x})", hex(address.get(..len)?)))
}

/// LocalIPAddress, RemoteIPAddress, ports, Protocol, StaticIPAddress, GatewayIPAddress, SubnetMask. Old firmware stops after StaticIPAddress.
fn ipv4(reader: &mut Reader<'_>) -> Option<String> {
    let mut address = || -> Option<Ipv4Addr> { Some(Ipv4Addr::from(reader.array::<4>().ok()?)) };
    let (local, remote) = (address()?, address()?);
    let (_local_port, _remote_port, protocol) = (reader.u16_le().ok()?, reader.u16_le().ok()?, reader.u16_le().ok()?);
    let origin = if reader.u8().ok()? == 0 { "DHCP" } else { "Static" };
    let mut text = format!("IPv4({remote},{},{origin},{local}", internet_protocol(protocol));
    if reader.left() > 0 {
        let gateway = Ipv4Addr::from(reader.array::<4>().ok()?);
        let mask = Ipv4Addr::from(reader.array::<4>().ok()?);
        text += &format!(",{gateway},{mask}");
    }
    Some(text + ")")
}

/// LocalIPAddress, RemoteIPAddress, ports, Protocol, IPAddressOrigin, PrefixLength, GatewayIPAddress. Old firmware stops after IPAddressOrigin.
fn ipv6(reader: &mut Reader<'_>) -> Option<String> {
    let mut address = || -> Option<Ipv6Addr> { Some(Ipv6Addr::from(reader.array::<16>().ok()?)) };
    let (local, remote) = (address()?, address()?);
    let (_local_port, _remote_port, protocol) = (reader.u16_le().ok()?, reader.u16_le().ok()?, reader.u16_le().ok()?);
    let origin = match reader.u8().ok()? {
        0 => "Static",
        1 => "StatelessAutoConfigure",
        _ => "StatefulAutoConfigure",
    };
    let mut text = format!("IPv6({remote},{},{origin},{local}", internet_protocol(protocol));
    if reader.left() > 0 {
        let prefix_len = reader.u8().ok()?;
        let gateway = Ipv6Addr::from(reader.array::<16>().ok()?);
        text += &format!(",{prefix_len},{gateway}");
    }
    Some(text + ")")
}

fn internet_protocol(number: u16) -> String {
    match number {
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        number => format!("{number:#x}"),
    }
}

/// Reserved, BaudRate, DataBits, Parity, StopBits.
fn uart(reader: &mut Reader<'_>) -> Option<String> {
    reader.u32_le().ok()?;
    let (baud, data_bits) = (reader.u64_le().ok()?, reader.u8().ok()?);
    let parity = match reader.u8().ok()? {
        0 => 'D',
        1 => 'N',
        2 => 'E',
        3 => 'O',
        4 => 'M',
        5 => 'S',
        _ => 'x',
    };
    let stop_bits = match reader.u8().ok()? {
        0 => "D",
        1 => "1",
        2 => "1.5",
        3 => "2",
        _ => "x",
    };
    Some(format!("Uart({baud},{data_bits},{parity},{stop_bits})"))
}

/// Protocol, Login Option, Logical Unit Number, Target Portal Group Tag, Target Name in ASCII.
fn iscsi(reader: &mut Reader<'_>) -> Option<String> {
    let (_protocol, _options) = (reader.u16_le().ok()?, reader.u16_le().ok()?);
    let lun: [u8; 8] = reader.array().ok()?;
    let portal_group = reader.u16_le().ok()?;
    let target = reader.take(reader.left()).ok()?;
    let target = std::str::from_utf8(target).ok()?.trim_end_matches('\0');
    Some(format!("iSCSI({},{portal_group:#x},{})", printable(target), hex(&lun)))
}

/// IsIPv6, then addresses of 16 bytes each.
fn dns(reader: &mut Reader<'_>) -> Option<String> {
    let is_ipv6 = reader.u8().ok()? != 0;
    let mut servers = Vec::new();
    while reader.left() > 0 {
        let address: [u8; 16] = reader.array().ok()?;
        let [a, b, c, d, ..] = address;
        servers.push(if is_ipv6 {
            Ipv6Addr::from(address).to_string()
        } else {
            Ipv4Addr::from([a, b, c, d]).to_string()
        });
    }
    Some(format!("Dns({})", servers.join(",")))
}
