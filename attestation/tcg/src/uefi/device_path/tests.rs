//! Device paths as real logs hold them, and as they must not be.

use super::*;
use crate::ReadFault;

fn node(node_type: u8, sub_type: u8, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len() + 4).unwrap();
    let mut bytes = vec![node_type, sub_type];
    bytes.extend(len.to_le_bytes());
    bytes.extend(data);
    bytes
}

fn end() -> Vec<u8> {
    node(0x7f, 0xff, &[])
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn text(nodes: &[Vec<u8>]) -> String {
    let bytes = nodes.concat();
    DevicePath::parse(&bytes).unwrap().to_string()
}

/// The text of one node with these data in hexadecimal.
fn one(node_type: u8, sub_type: u8, data: &str) -> String {
    text(&[node(node_type, sub_type, &hex::decode(data.replace(' ', "")).unwrap()), end()])
}

#[test]
fn a_disk_is_named_down_to_its_file() {
    let hard_drive = "0f000000 0008000000000000 0050030000000000 e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1 02 02";
    let path = text(&[
        node(2, 1, &hex::decode("d041030a00000000").unwrap()),
        node(1, 1, &[2, 0x1f]),
        node(3, 18, &[0, 0, 0xff, 0xff, 0, 0]),
        node(4, 1, &hex::decode(hard_drive.replace(' ', "")).unwrap()),
        node(4, 4, &utf16(r"\EFI\debian\shimx64.efi")),
        end(),
    ]);
    assert_eq!(
        path,
        r"PciRoot(0x0)/Pci(0x1f,0x2)/Sata(0x0,0xffff,0x0)/HD(15,GPT,e1e1e1e1-e1e1-e1e1-e1e1-e1e1e1e1e1e1,0x800,0x35000)/\EFI\debian\shimx64.efi"
    );
}

#[test]
fn each_known_node_has_its_text() {
    let guid = "61dfe48bca93d211aa0d00e098032b8c";
    let name = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
    for (node_type, sub_type, data, expected) in [
        (1, 1, "0003", "Pci(0x3,0x0)".to_owned()),
        (1, 2, "01", "PcCard(0x1)".to_owned()),
        (
            1,
            3,
            "0b000000 0000000000000080 ffff000000000080",
            "MemoryMapped(0xb,0x8000000000000000,0x800000000000ffff)".to_owned(),
        ),
        (1, 4, guid, format!("VenHw({name})")),
        (1, 4, &format!("{guid}01ff"), format!("VenHw({name},01ff)")),
        (1, 5, "07000000", "Ctrl(0x7)".to_owned()),
        (1, 6, "01 0100000000000000", "BMC(0x1,0x1)".to_owned()),
        (2, 1, "d041080a01000000", "PcieRoot(0x1)".to_owned()),
        (2, 1, "d041010502000000", "Serial(0x2)".to_owned()),
        (2, 1, "d041345602000000", "Acpi(PNP5634,0x2)".to_owned()),
        (2, 1, "0000000002000000", "Acpi(0x0,0x2)".to_owned()),
        (2, 2, "d041030a 00000000 00000000 00 41 00 00", "AcpiEx(PNP0A03,0x0,A)".to_owned()),
        (2, 3, "00010180 00020180", "AcpiAdr(0x80010100,0x80010200)".to_owned()),
        (3, 1, "00010000", "Ata(0x0,0x1,0x0)".to_owned()),
        (3, 2, "01000200", "Scsi(0x1,0x2)".to_owned()),
        (3, 3, "00000000 0100000000000000 0200000000000000", "Fibre(0x1,0x2)".to_owned()),
        (3, 5, "0100", "USB(0x1,0x0)".to_owned()),
        (3, 10, guid, format!("VenMsg({name})")),
        (
            3,
            11,
            "525400123456 0000000000000000000000000000000000000000000000000000 01",
            "MAC(525400123456,0x1)".to_owned(),
        ),
        (3, 12, "0a000002 0a000001 0000 0000 0600 00", "IPv4(10.0.0.1,TCP,DHCP,10.0.0.2)".to_owned()),
        (
            3,
            12,
            "0a000002 0a000001 0000 0000 1100 01 0a000003 ffffff00",
            "IPv4(10.0.0.1,UDP,Static,10.0.0.2,10.0.0.3,255.255.255.0)".to_owned(),
        ),
        (
            3,
            13,
            "00000000000000000000000000000001 00000000000000000000000000000002 0000 0000 1100 01",
            "IPv6(::2,UDP,StatelessAutoConfigure,::1)".to_owned(),
        ),
        (3, 14, "00000000 00c2010000000000 08 01 01", "Uart(115200,8,N,1)".to_owned()),
        (3, 15, "ffff ffff 08 06 50", "UsbClass(0xffff,0xffff,0x8,0x6,0x50)".to_owned()),
        (3, 16, "0000 2709 0100 41004200", "UsbWwid(0x927,0x1,0x0,\"AB\")".to_owned()),
        (3, 17, "02", "Unit(0x2)".to_owned()),
        (3, 19, "0000 0000 0100000000000000 0100 69716e2e61", "iSCSI(iqn.a,0x1,0100000000000000)".to_owned()),
        (3, 20, "0a00", "Vlan(10)".to_owned()),
        (3, 23, "01000000 0102030405060708", "NVMe(0x1,08-07-06-05-04-03-02-01)".to_owned()),
        (3, 24, "687474703a2f2f78", "Uri(http://x)".to_owned()),
        (3, 25, "0100", "UFS(0x1,0x0)".to_owned()),
        (3, 26, "01", "SD(0x1)".to_owned()),
        (3, 29, "01", "eMMC(0x1)".to_owned()),
        (3, 31, "00 08080808000000000000000000000000", "Dns(8.8.8.8)".to_owned()),
        (
            4,
            1,
            "01000000 3f00000000000000 0001000000000000 78563412000000000000000000000000 01 01",
            "HD(1,MBR,0x12345678,0x3f,0x100)".to_owned(),
        ),
        (4, 2, "00000000 0100000000000000 0200000000000000", "CDROM(0x0,0x1,0x2)".to_owned()),
        (4, 3, guid, format!("VenMedia({name})")),
        (4, 5, guid, format!("Media({name})")),
        (4, 6, guid, format!("FvFile({name})")),
        (4, 7, guid, format!("Fv({name})")),
        (4, 8, "00000000 0010000000000000 ff1f000000000000", "Offset(0x1000,0x1fff)".to_owned()),
        (4, 9, &format!("0000000000000000 ff00000000000000 {guid} 0000"), format!("RamDisk(0x0,0xff,0,{name})")),
        (5, 1, "0200 0000 4869", "BBS(0x2,Hi,0x0)".to_owned()),
    ] {
        assert_eq!(one(node_type, sub_type, data), expected, "type {node_type}, subtype {sub_type}");
    }
}

#[test]
fn an_unknown_node_or_shape_is_shown_in_hexadecimal() {
    assert_eq!(one(9, 1, "0102"), "Path(9,1,0102)");
    assert_eq!(one(1, 1, "010203"), "Path(1,1,010203)", "a PCI node has two bytes");
    assert_eq!(one(1, 1, "01"), "Path(1,1,01)");
    assert_eq!(one(1, 9, ""), "Path(1,9)");
    assert_eq!(one(4, 4, "00d8"), "Path(4,4,00d8)", "a lone surrogate is no text");
    assert_eq!(one(1, 9, &"ab".repeat(65)), format!("Path(1,9,{}…)", "ab".repeat(64)));
}

#[test]
fn what_does_not_print_is_escaped_and_the_file_path_is_not() {
    let bytes = [node(4, 4, &utf16("\\EFI\\\u{1b}[31m\u{202e}x")), end()].concat();
    let path = DevicePath::parse(&bytes).unwrap();
    assert_eq!(path.to_string(), "\\EFI\\\\u{1b}[31m\\u{202e}x");
    assert_eq!(path.file_path().unwrap(), "\\EFI\\\u{1b}[31m\u{202e}x");
}

#[test]
fn parts_of_a_file_path_are_joined() {
    let path = |parts: &[&str]| {
        let bytes = parts.iter().map(|part| node(4, 4, &utf16(part))).collect::<Vec<_>>().concat();
        DevicePath::parse(&bytes).unwrap().file_path()
    };
    assert_eq!(path(&["\\EFI", "BOOT", "\\x.efi"]).unwrap(), "\\EFI\\BOOT\\x.efi");
    assert_eq!(path(&[]), None);
}

#[test]
fn instances_are_separated() {
    let uart = hex::decode("0000000000c2010000000000080101").unwrap();
    assert_eq!(
        text(&[node(1, 5, &[1, 0, 0, 0]), node(0x7f, 1, &[]), node(3, 14, &uart), end()]),
        "Ctrl(0x1),Uart(115200,8,N,1)"
    );
}

#[test]
fn a_path_may_lack_its_end_and_an_empty_one_is_no_path() {
    assert_eq!(text(&[node(1, 1, &[0, 1])]), "Pci(0x1,0x0)");
    assert_eq!(text(&[]), "");
}

#[test]
fn lengths_that_do_not_fit_are_refused_at_their_node() {
    for bytes in [vec![1, 1, 3, 0], vec![1, 1, 0, 0], vec![1, 1, 7, 0, 1, 2]] {
        let bytes = [node(1, 1, &[0, 1]), bytes].concat();
        let error = DevicePath::parse(&bytes).unwrap_err();
        assert_eq!(error.offset, 6);
        assert!(matches!(error.reason, ReadFault::Value { field: "Length of a device path node", .. }), "{error}");
    }
    let bytes = [end(), vec![0]].concat();
    assert!(DevicePath::parse(&bytes).is_err(), "bytes after the end");
    assert!(DevicePath::parse(&[1, 1, 6]).is_err(), "half a header");
}

#[test]
fn a_path_of_too_many_nodes_is_refused() {
    let bytes = node(1, 1, &[0, 1]).repeat(MAX_DEVICE_PATH_NODES + 1);
    let error = DevicePath::parse(&bytes).unwrap_err();
    assert!(matches!(error.reason, ReadFault::TooMany { what: "nodes of a device path", .. }), "{error}");
}
