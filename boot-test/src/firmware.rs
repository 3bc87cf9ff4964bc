//! OVMF's two files: the code, and a store of UEFI variables that holds Microsoft's keys.
//!
//! Secure Boot is switched off as a person does it in the firmware's menu: the keys stay, the variable SecureBootEnable becomes 0.
//! The store is edited in place; this knows the one variable that it looks for and is no reader of variable stores.

use crate::BootTestError;

/// The build that knows Secure Boot, which protects its variables by SMM.
pub(crate) const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// The store with Microsoft's keys enrolled and Secure Boot on.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

const SECURE_BOOT_ENABLE: &str = "SecureBootEnable";
const ENABLED: u8 = 1;
const DISABLED: u8 = 0;

/// The variable store of a machine.
pub(crate) fn variables(secure_boot: bool) -> Result<Vec<u8>, BootTestError> {
    let mut store = std::fs::read(VARIABLES).map_err(BootTestError::io(format!("read {VARIABLES}")))?;
    if !secure_boot {
        switch_off(&mut store)?;
    }
    Ok(store)
}

/// A variable's value of one byte follows its name, which is UTF-16 and ends in NUL. There is one such variable in a new store.
fn switch_off(store: &mut [u8]) -> Result<(), BootTestError> {
    let malformed = || BootTestError::Malformed {
        path: VARIABLES.to_owned(),
        expected: "variable SecureBootEnable with the value 1, once",
    };
    let name: Vec<u8> = SECURE_BOOT_ENABLE.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let mut places = store.windows(name.len()).enumerate().filter(|(_, window)| *window == name);
    let (Some((at, _)), None) = (places.next(), places.next()) else { return Err(malformed()) };
    match store.get_mut(at + name.len()) {
        Some(value) if *value == ENABLED => {
            *value = DISABLED;
            Ok(())
        }
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(values: &[u8]) -> Vec<u8> {
        let name = SECURE_BOOT_ENABLE.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        values.iter().flat_map(|value| name.clone().chain([*value, 0xff])).collect()
    }

    #[test]
    fn one_variable_is_switched_off_and_nothing_else_is_touched() {
        let mut one = store(&[ENABLED]);
        switch_off(&mut one).unwrap();
        assert_eq!(one, store(&[DISABLED]));
        for other in [store(&[]), store(&[DISABLED]), store(&[ENABLED, ENABLED])] {
            let mut changed = other.clone();
            switch_off(&mut changed).unwrap_err();
            assert_eq!(changed, other);
        }
    }
}
